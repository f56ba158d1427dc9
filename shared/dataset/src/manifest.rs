//! What a dataset holds, and in which files.

use std::collections::BTreeMap;

use maskline_messages::{DatasetId, InvalidId, Label, ObjectKey, SplitSettings};
use serde::{Deserialize, Serialize};

use crate::{error::ManifestError, face_counts::FaceCounts, split::Split};

/// The version of the layout of datasets that this build writes and reads.
pub const LAYOUT_VERSION: u32 = 2;

/// The manifest of a dataset. It lies at [`ObjectKey::manifest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the layout, see [`LAYOUT_VERSION`].
    pub version: u32,
    /// The hash of the content: which images, with which labels, in which split.
    pub dataset: DatasetId,
    /// The `label` of a row is an index into these.
    pub classes: Vec<Label>,
    pub splits: BTreeMap<Split, SplitManifest>,
    pub split_settings: SplitSettings,
    /// Groups of several images that look the same or are of one photograph.
    pub near_duplicate_groups: u64,
    /// Images in no split, because images that look the same have another label.
    pub set_aside: u64,
}

/// What one split holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitManifest {
    pub images: u64,
    /// The number of images of each class.
    pub by_class: BTreeMap<Label, u64>,
    /// The number of images by the faces in them. Datasets of earlier builds do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faces: Option<FaceCounts>,
    pub shards: Vec<Shard>,
}

/// One Parquet file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// The path of the file relative to the manifest, see [`Split::shard_file`].
    pub file: String,
    pub rows: u64,
    pub bytes: u64,
    /// The SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

/// The field that every version of the manifest has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Manifest {
    /// Reads what [`Manifest::to_json`] wrote.
    ///
    /// # Errors
    /// If `json` is not a manifest, or one of another version.
    pub fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        // The version comes first: a manifest of another version may have other fields.
        let Versioned { version } = serde_json::from_slice(json)?;
        if version != LAYOUT_VERSION {
            return Err(ManifestError::Version {
                found: version,
                known: LAYOUT_VERSION,
            });
        }
        Ok(serde_json::from_slice(json)?)
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("text and numbers are JSON")
    }

    /// The part of the manifest about `split`. A split that is absent has no images.
    pub fn split(&self, split: Split) -> Option<&SplitManifest> {
        self.splits.get(&split)
    }

    /// The number of images in `split`.
    pub fn images(&self, split: Split) -> u64 {
        self.split(split).map_or(0, |split| split.images)
    }

    /// The key of a shard of this dataset.
    ///
    /// # Errors
    /// If the manifest names a file outside its dataset.
    pub fn shard_key(&self, shard: &Shard) -> Result<ObjectKey, InvalidId> {
        ObjectKey::dataset_file(&self.dataset, &shard.file)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn label(name: &str) -> Label {
        name.parse().unwrap()
    }

    fn manifest() -> Manifest {
        let training = SplitManifest {
            images: 2,
            by_class: [(label("with_mask"), 2)].into(),
            faces: Some(FaceCounts {
                one: 1,
                several: 1,
                ..FaceCounts::default()
            }),
            shards: vec![Shard {
                file: Split::Train.shard_file(0, 1),
                rows: 2,
                bytes: 100,
                sha256: "00ff".to_owned(),
            }],
        };
        Manifest {
            version: LAYOUT_VERSION,
            dataset: DatasetId::of(b"a dataset"),
            classes: vec![label("with_mask")],
            splits: [
                (Split::Train, training),
                (Split::Validation, SplitManifest::default()),
                (Split::Test, SplitManifest::default()),
            ]
            .into(),
            split_settings: SplitSettings::default(),
            near_duplicate_groups: 3,
            set_aside: 1,
        }
    }

    #[test]
    fn the_json_is_what_other_programs_read() {
        let expected = json!({
            "version": 2,
            "dataset": DatasetId::of(b"a dataset"),
            "classes": ["with_mask"],
            "splits": {
                "train": {
                    "images": 2,
                    "by_class": { "with_mask": 2 },
                    "faces": { "not_looked_for": 0, "none": 0, "one": 1, "several": 1 },
                    "shards": [{
                        "file": "data/train-00000-of-00001.parquet",
                        "rows": 2,
                        "bytes": 100,
                        "sha256": "00ff",
                    }],
                },
                "validation": { "images": 0, "by_class": {}, "shards": [] },
                "test": { "images": 0, "by_class": {}, "shards": [] },
            },
            "split_settings": { "validation": 0.2, "seed": 42, "near_distance": 4, "detail_distance": 8 },
            "near_duplicate_groups": 3,
            "set_aside": 1,
        });
        let json = manifest().to_json();
        let found: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(found, expected);
        assert_eq!(Manifest::from_json(&json).unwrap(), manifest());
    }

    #[test]
    fn fields_that_a_later_build_adds_are_passed_over() {
        let mut json: serde_json::Value = serde_json::from_slice(&manifest().to_json()).unwrap();
        json["what_a_later_build_adds"] = true.into();
        let read = Manifest::from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(read, manifest());
    }

    #[test]
    fn another_version_is_named_and_other_json_refused() {
        for (json, version) in [
            (&br#"{"version":1}"#[..], "version 1"),
            (br#"{"version":3}"#, "version 3"),
        ] {
            let refused = Manifest::from_json(json).unwrap_err();
            assert!(refused.to_string().contains(version), "{refused}");
        }
        for other in [&b"{"[..], b"[]", br#"{"version":2}"#] {
            let refused = Manifest::from_json(other);
            assert!(matches!(refused, Err(ManifestError::Unreadable(_))));
        }
    }

    #[test]
    fn a_shard_outside_the_dataset_has_no_key() {
        let mut shard = manifest().splits[&Split::Train].shards[0].clone();
        assert!(manifest().shard_key(&shard).is_ok());
        shard.file = "../../raw/an_image".to_owned();
        assert!(manifest().shard_key(&shard).is_err());
    }
}
