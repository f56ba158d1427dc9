//! A frozen dataset: one version of a collection.

use std::collections::BTreeMap;

use maskline_messages::{CollectionName, DatasetId, JobId, Label, SourceRole, SplitSettings};
use serde::{Deserialize, Serialize};

/// A frozen dataset: what a collection was at some time. Its objects lie under
/// `datasets/<id>/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// The hash of the content and of the parent.
    pub id: DatasetId,
    /// The hash of the content alone: which images, with which labels, in which split.
    pub content: DatasetId,
    pub collection: CollectionName,
    /// The dataset of the version before. Its split is kept.
    pub parent: Option<DatasetId>,
    /// Where the images come from.
    pub sources: Vec<SourceCount>,
    pub classes: Vec<Label>,
    /// The number of images by split (`train`, `validation`, `test`) and class.
    pub images: BTreeMap<String, BTreeMap<Label, u64>>,
    /// Groups of several images that look the same or are of one photograph.
    pub near_duplicate_groups: u64,
    /// Stored images that are in no split because they or images that look the same have several labels.
    pub set_aside: u64,
    /// Stored images that are in no split because they are in a group with an image of a test source.
    pub withheld: u64,
    /// Images in a split that show several faces, as far as somebody looked for faces. In a record of
    /// an earlier build nobody counted them.
    #[serde(default)]
    pub several_faces: u64,
    pub split: SplitSettings,
    pub created: u64,
}

/// How many images of a dataset come from a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCount {
    pub job: JobId,
    pub role: SourceRole,
    /// An image that several sources have counts for the one that was enqueued first.
    pub images: u64,
}
