//! Where each object lies in the object store. Every key that maskline writes has a
//! constructor here, so that the layout of the store is written down once:
//!
//! | key | object |
//! |---|---|
//! | `raw/ab/<image>` | the bytes of an image as they were fetched |
//! | `normalized/ab/<image>.jpg` | the bounded RGB image that the validator makes of them |
//! | `datasets/<dataset>/manifest.json` | the manifest of a dataset, written after its shards |
//! | `datasets/<dataset>/<file>` | a shard; the manifest names the file |
//! | `datasets/<dataset>/README.md` | the card of a dataset, a page about it |
//! | `datasets/<dataset>/features/<set>/<shard>.safetensors` | what a pretrained network sees in the images of a shard |
//! | `datasets/<dataset>/attribution.csv` | what the licences of its images ask to be shown |
//! | `runs/<run>/…` | the checkpoints of a training run |
//! | `models/<run>/model.safetensors` | the weights of a published model |
//! | `models/<run>/report.json`, `report.html` | its report, for programs and for people |
//! | `models/<run>/out_of_fold.csv` | for a linear probe, what its cross-validation predicted for each training image |
//! | `studies/<study>/report.json`, `report.html` | the report of a study, for programs and for people |
//! | `weights/<weights>.safetensors` | weights that a person stored, to train networks from |
//! | `crawls/<job>/<step>.json` | what a step of a crawl added to the pages to visit; deleted after the last |

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    ids::{DatasetId, ImageId, JobId, RunId, StudyId, WeightsId},
    invalid::InvalidId,
};

/// The prefix of the names of checkpoint indexes.
const CHECKPOINT_INDEX: &str = "checkpoint-";

/// The key of an object in the object store: a relative path of plain segments.
///
/// A key cannot leave its store: it has no empty, `.` or `..` segment and no
/// backslash. Between the slashes there are only letters, digits and `. _ - =`,
/// and the whole key has at most 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

/// The objects that a checkpoint of a training run consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointPart {
    /// The weights and the running statistics of the network.
    Network,
    /// The state of the optimizer.
    Optimizer,
    /// The index, which names the other objects. Indexes sort by epochs and steps,
    /// so that the last key is the latest.
    Index { epochs: usize, steps: usize },
}

impl ObjectKey {
    /// The bytes of an image as they were fetched.
    pub fn raw(image: &ImageId) -> Self {
        Self::by_content("raw", image, "")
    }

    /// The bounded RGB image that the validator makes of the raw bytes, a JPEG.
    pub fn normalized(image: &ImageId) -> Self {
        Self::by_content("normalized", image, ".jpg")
    }

    /// The folder of a dataset, to list what is below it.
    pub fn dataset(dataset: &DatasetId) -> String {
        format!("datasets/{dataset}")
    }

    /// The manifest of a dataset.
    pub fn manifest(dataset: &DatasetId) -> Self {
        Self(format!("datasets/{dataset}/manifest.json"))
    }

    /// The list of a dataset's images with their splits, a Parquet file.
    pub fn dataset_members(dataset: &DatasetId) -> Self {
        Self(format!("datasets/{dataset}/members.parquet"))
    }

    /// The card of a dataset. Hugging Face's Hub looks for it under this name.
    pub fn dataset_card(dataset: &DatasetId) -> Self {
        Self(format!("datasets/{dataset}/README.md"))
    }

    /// The list of what the licences of a dataset's images ask to be shown.
    pub fn dataset_attribution(dataset: &DatasetId) -> Self {
        Self(format!("datasets/{dataset}/attribution.csv"))
    }

    /// A file of a dataset. `file` is its path relative to the manifest.
    ///
    /// # Errors
    /// If `file` is not a path of plain segments.
    pub fn dataset_file(dataset: &DatasetId, file: &str) -> Result<Self, InvalidId> {
        format!("datasets/{dataset}/{file}").parse()
    }

    /// The folder of a dataset's features of one set, to list what is below it. `set` says what
    /// they were computed from.
    pub fn features_of(dataset: &DatasetId, set: &str) -> String {
        format!("datasets/{dataset}/features/{set}")
    }

    /// What a pretrained network sees in the images of a shard, a safetensors file. `file` is the
    /// path of the shard relative to the manifest.
    ///
    /// # Errors
    /// If `set` or `file` is not a path of plain segments.
    pub fn dataset_features(dataset: &DatasetId, set: &str, file: &str) -> Result<Self, InvalidId> {
        let shard = file.rsplit('/').next().unwrap_or(file);
        let name = shard.strip_suffix(".parquet").unwrap_or(shard);
        format!("{}/{name}.safetensors", Self::features_of(dataset, set)).parse()
    }

    /// The weights of a published model, a safetensors file. A model has the id of
    /// the run that trained it.
    pub fn model_weights(model: RunId) -> Self {
        Self::model(model, "model.safetensors")
    }

    /// The report of a published model for programs, JSON.
    pub fn model_report(model: RunId) -> Self {
        Self::model(model, "report.json")
    }

    /// The report of a published model for people, an HTML page.
    pub fn model_report_page(model: RunId) -> Self {
        Self::model(model, "report.html")
    }

    /// What the cross-validation of a linear probe predicted for each training image, CSV.
    pub fn model_out_of_fold(model: RunId) -> Self {
        Self::model(model, "out_of_fold.csv")
    }

    /// The report of a study for programs, JSON.
    pub fn study_report(study: StudyId) -> Self {
        Self(format!("studies/{study}/report.json"))
    }

    /// The report of a study for people, an HTML page.
    pub fn study_report_page(study: StudyId) -> Self {
        Self(format!("studies/{study}/report.html"))
    }

    /// Weights that a person stored, to train networks from them: a safetensors file.
    pub fn weights(weights: &WeightsId) -> Self {
        Self(format!("weights/{weights}.safetensors"))
    }

    fn model(model: RunId, file: &str) -> Self {
        Self(format!("models/{model}/{file}"))
    }

    /// One object of a checkpoint. Its name contains the beginning of the SHA-256 of
    /// its `content`, so that two checkpoints never write over each other.
    pub fn checkpoint(run: RunId, part: CheckpointPart, content: &[u8]) -> Self {
        let folder = Self::checkpoints(run);
        let digest = hex::encode(&Sha256::digest(content)[..8]);
        Self(match part {
            CheckpointPart::Network => format!("{folder}/network-{digest}.bpk"),
            CheckpointPart::Optimizer => format!("{folder}/optimizer-{digest}.safetensors"),
            CheckpointPart::Index { epochs, steps } => {
                format!("{folder}/{CHECKPOINT_INDEX}{epochs:06}-{steps:09}-{digest}.json")
            }
        })
    }

    /// True if the key is that of a [`CheckpointPart::Index`].
    pub fn is_checkpoint_index(&self) -> bool {
        let name = self.0.rsplit('/').next();
        self.0.starts_with("runs/") && name.is_some_and(|name| name.starts_with(CHECKPOINT_INDEX))
    }

    /// What one step of a crawl added to the pages that are to be visited.
    pub fn crawl(job: JobId, step: u64) -> Self {
        Self(format!("{}/{step:09}.json", Self::crawls(job)))
    }

    /// The folder of all steps of a job's crawl, to list what is below it.
    pub fn crawls(job: JobId) -> String {
        format!("crawls/{job}")
    }

    /// The folder of all checkpoints of a run, to list what is below it.
    pub fn checkpoints(run: RunId) -> String {
        format!("runs/{run}")
    }

    // With two levels no folder has millions of files.
    fn by_content(kind: &str, image: &ImageId, suffix: &str) -> Self {
        let hex = image.to_string();
        Self(format!("{kind}/{}/{hex}{suffix}", &hex[..2]))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-=".contains(c);
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.chars().all(plain);
        if text.len() <= 512 && text.split('/').all(segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(
                text,
                "an object key (plain segments between slashes)",
            ))
        }
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{network::NetworkName, settings::TrainingSettings};

    #[test]
    fn every_key_lies_where_earlier_versions_wrote_it() {
        let image = ImageId::of(b"an image");
        let dataset = DatasetId::of(b"a dataset");
        let run = RunId::of(
            &dataset,
            NetworkName::MobilenetV2,
            &TrainingSettings::default(),
        );
        let (hex, folder) = (image.to_string(), &image.to_string()[..2]);
        let checkpoint = |part| ObjectKey::checkpoint(run, part, b"content");
        let digest = "ed7002b439e9ac84";
        let index = CheckpointPart::Index {
            epochs: 3,
            steps: 17,
        };
        let cases = [
            (ObjectKey::raw(&image), format!("raw/{folder}/{hex}")),
            (
                ObjectKey::normalized(&image),
                format!("normalized/{folder}/{hex}.jpg"),
            ),
            (
                ObjectKey::manifest(&dataset),
                format!("datasets/{dataset}/manifest.json"),
            ),
            (
                ObjectKey::dataset_card(&dataset),
                format!("datasets/{dataset}/README.md"),
            ),
            (
                ObjectKey::dataset_attribution(&dataset),
                format!("datasets/{dataset}/attribution.csv"),
            ),
            (
                ObjectKey::dataset_file(&dataset, "data/a.parquet").unwrap(),
                format!("datasets/{dataset}/data/a.parquet"),
            ),
            (
                ObjectKey::model_weights(run),
                format!("models/{run}/model.safetensors"),
            ),
            (
                ObjectKey::model_report(run),
                format!("models/{run}/report.json"),
            ),
            (
                ObjectKey::model_report_page(run),
                format!("models/{run}/report.html"),
            ),
            (
                checkpoint(CheckpointPart::Network),
                format!("runs/{run}/network-{digest}.bpk"),
            ),
            (
                checkpoint(CheckpointPart::Optimizer),
                format!("runs/{run}/optimizer-{digest}.safetensors"),
            ),
            (
                checkpoint(index),
                format!("runs/{run}/checkpoint-000003-000000017-{digest}.json"),
            ),
        ];
        let job = JobId(uuid::Uuid::nil());
        let study = StudyId(uuid::Uuid::nil());
        let cases = cases.into_iter().chain([
            (
                ObjectKey::crawl(job, 12),
                format!("crawls/{job}/000000012.json"),
            ),
            (
                ObjectKey::study_report(study),
                format!("studies/{study}/report.json"),
            ),
            (
                ObjectKey::study_report_page(study),
                format!("studies/{study}/report.html"),
            ),
        ]);
        for (key, expected) in cases {
            assert_eq!(key.as_str(), expected);
            assert_eq!(expected.parse(), Ok(key), "the key is a plain path");
        }
        assert!(checkpoint(index).is_checkpoint_index());
        assert!(!checkpoint(CheckpointPart::Network).is_checkpoint_index());
        assert!(ObjectKey::dataset_file(&dataset, "../elsewhere").is_err());
    }
}
