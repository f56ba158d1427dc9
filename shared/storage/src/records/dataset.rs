//! A frozen dataset.

use std::collections::BTreeMap;

use maskline_messages::{DatasetId, JobId, Label};
use serde::{Deserialize, Serialize};

/// A frozen dataset. Its objects lie under `datasets/<id>/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    pub id: DatasetId,
    /// The job that froze it first.
    pub job: JobId,
    pub classes: Vec<Label>,
    /// The number of images by split (`train`, `validation`) and class.
    pub images: BTreeMap<String, BTreeMap<Label, u64>>,
    pub near_duplicate_groups: u64,
    /// Stored images that are in no split because their group has several labels.
    pub set_aside: u64,
    pub split: SplitSettings,
    pub created: u64,
}

/// How a dataset is split in two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SplitSettings {
    /// The share of each class that goes to the validation split, 0 to 1.
    pub validation: f64,
    pub seed: u64,
    /// Two images are near-duplicates, and stay in one split, if their perceptual hashes,
    /// mirrored or not, differ in at most so many of 64 bits.
    pub near_distance: u32,
}

impl Default for SplitSettings {
    fn default() -> Self {
        Self {
            validation: 0.2,
            seed: 42,
            near_distance: 4,
        }
    }
}
