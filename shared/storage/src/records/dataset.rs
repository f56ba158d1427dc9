//! A frozen dataset.

use std::collections::BTreeMap;

use maskline_messages::{DatasetId, JobId, Label, SplitSettings};
use serde::{Deserialize, Serialize};

/// A frozen dataset. Its objects lie under `datasets/<id>/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    pub id: DatasetId,
    /// The job that froze it first.
    pub job: JobId,
    pub classes: Vec<Label>,
    /// The number of images by split (`train`, `validation`, `test`) and class.
    pub images: BTreeMap<String, BTreeMap<Label, u64>>,
    pub near_duplicate_groups: u64,
    /// Stored images that are in no split because their group has several labels.
    pub set_aside: u64,
    pub split: SplitSettings,
    pub created: u64,
}
