//! A job: one source of images on its way to a dataset.

use maskline_messages::{
    DatasetId, JobId, JobState, Label, Labeling, NetworkName, Source, SplitSettings,
    TrainingSettings,
};
use serde::{Deserialize, Serialize};

/// A job, from its source to its dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub source: Source,
    pub labeling: Option<Labeling>,
    /// The classes that a label may name. If it is empty, the source may give any label.
    pub classes: Vec<Label>,
    /// The networks to train when the dataset is frozen.
    pub train: Vec<NetworkName>,
    pub settings: TrainingSettings,
    pub split: SplitSettings,
    pub state: JobState,
    /// Why the job failed, if it did.
    pub error: Option<String>,
    pub dataset: Option<DatasetId>,
    /// The id of the dead letter that was replayed last to go on with the expansion.
    #[serde(default)]
    pub replayed: Option<String>,
    /// The W3C traceparent of the job's own trace.
    pub traceparent: Option<String>,
    pub created: u64,
}

/// Proof that a job was seen as settled. Freezing the job takes this proof, because a
/// plan that was made before the job was opened again lacks the candidates that came since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// How often the job had been opened again until then.
    pub(crate) reopened: i64,
}
