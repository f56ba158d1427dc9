//! `manifest.json`: what a dataset holds and where, as far as training needs it.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Result;
use maskline_messages::{DatasetId, InvalidId, Label, ObjectKey};
use maskline_storage::ObjectStore;
use serde::Deserialize;

use crate::hopeless::Hopeless;

/// The version of the datasets' layout that this build reads.
const VERSION: u32 = 1;

const FILE: &str = "manifest.json";

/// What a network learns from.
pub const TRAINING: &str = "train";
/// What it is measured on.
pub const VALIDATION: &str = "validation";

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Manifest {
    version: u32,
    pub dataset: DatasetId,
    /// A row's `label` is an index into these.
    pub classes: Vec<Label>,
    /// By name: [`TRAINING`], [`VALIDATION`].
    pub splits: BTreeMap<String, SplitManifest>,
    pub near_duplicate_groups: u64,
    /// Images in no split because their near-duplicates have other labels.
    pub set_aside: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct SplitManifest {
    pub images: u64,
    pub by_class: BTreeMap<Label, u64>,
    pub shards: Vec<Shard>,
}

/// One Parquet file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Shard {
    /// Relative to the manifest.
    pub file: String,
    /// In hexadecimal, of the whole file.
    pub sha256: String,
}

impl Manifest {
    /// The dataset's manifest, if a network can be trained on it. [`Hopeless`]
    /// says why not.
    pub async fn read(objects: &Arc<dyn ObjectStore>, dataset: &DatasetId) -> Result<Self> {
        let key = ObjectKey::dataset(dataset, FILE)?;
        let json = match objects.get(&key).await {
            Err(missing) if missing.is_not_found() => {
                let place = objects.locate(&key);
                let dataset = *dataset;
                return Err(Hopeless::NoDataset { dataset, place }.into());
            }
            json => json?,
        };
        Ok(Self::parse(dataset, &json)?)
    }

    fn parse(dataset: &DatasetId, json: &[u8]) -> Result<Self, Hopeless> {
        let damaged = |problem: String| Hopeless::DamagedDataset {
            dataset: *dataset,
            problem,
        };
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|error| damaged(format!("its {FILE} is no manifest: {error}")))?;
        if manifest.version != VERSION {
            let found = manifest.version;
            return Err(damaged(format!(
                "its layout is version {found}, this trainer reads {VERSION}"
            )));
        }
        manifest.check_trainable()?;
        Ok(manifest)
    }

    fn check_trainable(&self) -> Result<(), Hopeless> {
        for split in [TRAINING, VALIDATION] {
            if self.split(split).is_none_or(|split| split.images == 0) {
                return Err(Hopeless::EmptySplit { split });
            }
        }
        let training = self.split(TRAINING).into_iter();
        let mut present = training
            .flat_map(|split| &split.by_class)
            .filter(|&(_, &images)| images > 0);
        match (present.next(), present.next()) {
            (Some((class, _)), None) => Err(Hopeless::OneClass {
                class: class.clone(),
            }),
            _ => Ok(()),
        }
    }

    pub fn split(&self, name: &str) -> Option<&SplitManifest> {
        self.splits.get(name)
    }

    pub fn key(&self, shard: &Shard) -> Result<ObjectKey, InvalidId> {
        ObjectKey::dataset(&self.dataset, &shard.file)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(version: u32, train: [u64; 2], validation: [u64; 2]) -> Result<Manifest, Hopeless> {
        let dataset = DatasetId::of(b"a dataset");
        let split = |images: [u64; 2]| {
            json!({
                "images": images.iter().sum::<u64>(),
                "by_class": { "with_mask": images[0], "without_mask": images[1] },
                "shards": [],
            })
        };
        let json = json!({
            "version": version,
            "dataset": dataset,
            "classes": ["with_mask", "without_mask"],
            "splits": { "train": split(train), "validation": split(validation) },
            "near_duplicate_groups": 0,
            "set_aside": 0,
            "what_a_later_version_adds": true,
        });
        Manifest::parse(&dataset, json.to_string().as_bytes())
    }

    #[test]
    fn two_classes_on_both_sides_can_be_trained_on() {
        assert_eq!(parse(1, [4, 4], [1, 1]).unwrap().classes.len(), 2);
    }

    #[test]
    fn what_can_not_be_trained_on_is_hopeless_and_says_why() {
        let one_class = parse(1, [4, 0], [1, 1]).unwrap_err();
        assert!(
            matches!(&one_class, Hopeless::OneClass { class } if class.as_str() == "with_mask")
        );
        let empty = parse(1, [4, 4], [0, 0]).unwrap_err();
        assert_eq!(
            empty,
            Hopeless::EmptySplit {
                split: "validation"
            }
        );
        let other = parse(2, [4, 4], [1, 1]).unwrap_err();
        assert!(other.to_string().contains("version 2"), "{other}");
        let broken = Manifest::parse(&DatasetId::of(b""), b"{").unwrap_err();
        assert!(matches!(broken, Hopeless::DamagedDataset { .. }));
    }
}
