//! A job: one source of images on its way into a collection.

use maskline_foundation::time::unix_millis;
use maskline_messages::{
    CollectionName, DatasetId, JobId, JobState, Labeling, Method, Source, SourceRole,
    TrainingChoices,
};
use serde::{Deserialize, Serialize};

/// A job, from its source to the version of its collection that has its images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub collection: CollectionName,
    pub source: Source,
    pub labeling: Option<Labeling>,
    pub role: SourceRole,
    /// Whether the collection is to be frozen when nothing of it is in flight any more.
    pub freeze: bool,
    /// The networks to train when the collection is frozen with this source.
    pub train: Vec<Method>,
    pub settings: TrainingChoices,
    pub state: JobState,
    /// Whether every candidate of it is recorded.
    #[serde(default)]
    pub expanded: bool,
    /// What the expansion waited for last. It is of no interest when its time has passed.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Why the job failed, if it did.
    pub error: Option<String>,
    /// The dataset that it was frozen in.
    pub dataset: Option<DatasetId>,
    /// The number of the collection's version that it was frozen in.
    #[serde(default)]
    pub version: Option<u32>,
    /// When a person removed the source from its collection.
    #[serde(default)]
    pub removed: Option<u64>,
    /// Whether nothing may be left of what only this source had.
    pub purged: bool,
    /// The id of the dead letter that was replayed last to go on with the expansion.
    #[serde(default)]
    pub replayed: Option<String>,
    /// The W3C traceparent of the job's own trace.
    pub traceparent: Option<String>,
    pub created: u64,
}

/// A wait for the next turn at a server, such as for a provider's quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Milliseconds since the Unix epoch.
    pub until: u64,
    /// What is waited for.
    pub reason: String,
}

impl Job {
    /// A job that begins now. Its images are to be trained on and its collection is to be
    /// frozen, but no network is to be trained.
    pub fn new(collection: CollectionName, source: Source, labeling: Option<Labeling>) -> Self {
        Self {
            id: JobId::draw(),
            collection,
            source,
            labeling,
            role: SourceRole::Train,
            freeze: true,
            train: vec![],
            settings: TrainingChoices::default(),
            state: JobState::Expanding,
            expanded: false,
            pause: None,
            error: None,
            dataset: None,
            version: None,
            removed: None,
            purged: false,
            replayed: None,
            traceparent: None,
            created: unix_millis(),
        }
    }

    /// Says whether both are about the same source. Its role may differ.
    pub fn has_same_source(&self, other: &Self) -> bool {
        self.source == other.source && self.labeling == other.labeling
    }

    /// Says whether a person removed the source from its collection.
    pub fn is_removed(&self) -> bool {
        self.removed.is_some()
    }

    /// Says whether its collection is frozen for its sake when nothing is in flight: the job
    /// asks for that, or its images are in a version already, which would now lack some.
    pub(crate) fn is_frozen_by_itself(&self) -> bool {
        self.freeze || self.dataset.is_some()
    }
}
