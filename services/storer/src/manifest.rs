//! `manifest.json`: what a dataset holds and where.

use std::collections::BTreeMap;

use maskline_messages::{DatasetId, Label};
use maskline_storage::records::SplitSettings;
use serde::{Deserialize, Serialize};

/// The version of the dataset's layout.
pub const VERSION: u32 = 1;

/// The manifest's file name under `datasets/<id>/`.
pub const FILE: &str = "manifest.json";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    /// The hash of the content: which images, by which label, on which side.
    pub dataset: DatasetId,
    /// A row's `label` is an index into these.
    pub classes: Vec<Label>,
    pub splits: BTreeMap<String, SplitManifest>,
    pub split_settings: SplitSettings,
    pub near_duplicate_groups: u64,
    /// Images in no split because their near-duplicates have other labels.
    pub set_aside: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitManifest {
    pub images: u64,
    pub by_class: BTreeMap<Label, u64>,
    pub shards: Vec<Shard>,
}

/// One Parquet file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Relative to the manifest.
    pub file: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
}
