//! A collection: images from any number of sources, frozen into numbered versions as it grows.

use std::collections::BTreeMap;

use maskline_foundation::time::unix_millis;
use maskline_messages::{
    CollectionName, DatasetId, JobId, Label, Method, RequestId, SplitSettings, TrainingChoices,
    VersionName,
};
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;

/// A collection. It is made when the first source is enqueued into it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    #[serde(rename = "id")]
    pub name: CollectionName,
    /// The classes that a label may name, sorted. If it is empty, the sources may give any
    /// label.
    pub classes: Vec<Label>,
    pub split: SplitSettings,
    /// The versions that were frozen, the oldest first.
    pub versions: Vec<Version>,
    /// What people asked to be trained on the next version, and no trainer was told yet.
    pub requests: Vec<TrainingWish>,
    /// Why the last try to freeze it failed, if it did.
    pub error: Option<String>,
    pub created: u64,
}

impl Collection {
    /// A collection that begins now, without anything in it.
    pub fn new(name: CollectionName, mut classes: Vec<Label>, split: SplitSettings) -> Self {
        classes.sort();
        classes.dedup();
        Self {
            name,
            classes,
            split,
            versions: vec![],
            requests: vec![],
            error: None,
            created: unix_millis(),
        }
    }

    /// The name of the version with this number.
    pub fn version_name(&self, number: u32) -> VersionName {
        VersionName {
            collection: self.name.clone(),
            number,
        }
    }

    /// The newest version of which the objects are there.
    pub fn latest_kept(&self) -> Option<&Version> {
        self.versions.iter().rev().find(|version| !version.deleted)
    }

    /// The newest version, deleted or not.
    pub fn latest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// The dataset of the version before the one that has this content: before the newest version
    /// if that has it and is not deleted, or else the newest version.
    pub fn parent_of(&self, content: &DatasetId) -> Option<DatasetId> {
        let mut newest_first = self.versions.iter().rev();
        if self.latest().is_some_and(|latest| latest.has(content)) {
            newest_first.next();
        }
        newest_first.next().map(|version| version.dataset)
    }

    /// The name of the version that comes after the one of the dataset `parent`.
    pub fn version_after(&self, parent: Option<&DatasetId>) -> VersionName {
        let mut versions = self.versions.iter();
        let parent = versions.find(|version| Some(&version.dataset) == parent);
        self.version_name(parent.map_or(1, |parent| parent.number + 1))
    }

    /// Makes the dataset the newest version, unless that one has the same content. Returns the
    /// newest version.
    pub(crate) fn add_version(&mut self, dataset: &Dataset) -> Version {
        self.error = None;
        match self.latest() {
            Some(latest) if latest.has(&dataset.content) => latest.clone(),
            _ => {
                let version = Version {
                    number: self.next_number(),
                    dataset: dataset.id,
                    content: dataset.content,
                    deleted: false,
                    created: dataset.created,
                };
                self.versions.push(version.clone());
                version
            }
        }
    }

    /// The number that the next version gets. Numbers are never used again, even if versions
    /// are deleted.
    pub fn next_number(&self) -> u32 {
        self.latest().map_or(1, |latest| latest.number + 1)
    }
}

/// A version of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Versions are numbered from 1.
    pub number: u32,
    pub dataset: DatasetId,
    /// The hash of the dataset's content, by which two versions are compared.
    pub content: DatasetId,
    /// True if its objects were deleted, because a person asked for an image in it to be
    /// removed. It stays in the list, so that its number and its dataset are not used again.
    #[serde(default)]
    pub deleted: bool,
    pub created: u64,
}

impl Version {
    /// Says whether it is there and has this content.
    fn has(&self, content: &DatasetId) -> bool {
        self.content == *content && !self.deleted
    }
}

/// What a person asked to be trained when a collection is frozen by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingWish {
    pub id: RequestId,
    pub networks: Vec<Method>,
    pub settings: TrainingChoices,
}

/// Proof that nothing of a collection was in flight. A freeze takes this proof, because a plan
/// that was made before the collection changed lacks what came since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// How often the collection had been opened until then: a source was enqueued into it, a
    /// candidate was opened again, or something was removed.
    pub(crate) generation: i64,
    /// The jobs that wait to be frozen, with how often each had been opened again until then.
    pub(crate) jobs: BTreeMap<JobId, i64>,
}

impl Settled {
    /// The jobs that wait to be frozen.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.jobs.keys().copied()
    }
}
