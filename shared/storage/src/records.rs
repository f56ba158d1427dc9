//! What the catalog knows: jobs, candidates, images, datasets, runs, models.
//!
//! Times are milliseconds since the Unix epoch.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use maskline_messages::{
    CandidateId, DatasetId, Hop, ImageId, InvalidId, JobId, Label, LabelOrigin, Labeling, Location,
    Measurements, NetworkName, Prediction, Reason, RunId, Source, TrainingSettings,
};
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, now.
pub fn now() -> u64 {
    Hop::now("").at
}

/// One source of images on its way to a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub source: Source,
    pub labeling: Option<Labeling>,
    /// The classes that a label may name; empty: whatever the source says.
    pub classes: Vec<Label>,
    /// What to train when the dataset is frozen; empty: nothing.
    pub train: Vec<NetworkName>,
    pub settings: TrainingSettings,
    pub split: SplitSettings,
    pub state: JobState,
    /// Why, where the state is failed.
    pub error: Option<String>,
    pub dataset: Option<DatasetId>,
    /// The dead letter, a step of its expansion, that it was opened again for.
    #[serde(default)]
    pub replayed: Option<String>,
    /// W3C traceparent of the job's own trace.
    pub traceparent: Option<String>,
    pub created: u64,
}

/// How a dataset is cut in two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SplitSettings {
    /// The share of each class that goes to the validation split, 0 to 1.
    pub validation: f64,
    pub seed: u64,
    /// Two images whose perceptual hashes, mirrored or not, differ in at most so
    /// many of 64 bits are near-duplicates and stay on one side.
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

/// Forwards by itself: `expanding` → `running` → `frozen`, or `failed` from the first
/// two. Back where a person sends a dead letter back: `frozen` or `failed` → `running`,
/// `failed` → `expanding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// More candidates may be found.
    Expanding,
    /// All candidates are in the catalog, and some may be in flight.
    Running,
    /// The dataset exists.
    Frozen,
    Failed,
}

/// That a job was seen as settled. Whoever freezes it shows this: what was planned
/// before the job was opened again lacks what has come since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// How often the job had been opened again.
    pub(crate) reopened: i64,
}

/// One candidate as the expansion found it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCandidate {
    pub id: CandidateId,
    pub job: JobId,
    pub location: Location,
    pub label: Option<Label>,
}

/// One document per candidate, with its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub id: CandidateId,
    pub job: JobId,
    pub location: Location,
    /// What the source says.
    pub label: Option<Label>,
    pub state: CandidateState,
    /// Known once it was fetched.
    pub image: Option<ImageId>,
    /// The stage that rejected it or gave up.
    pub stage: Option<String>,
    pub reason: Option<Reason>,
    pub error: Option<String>,
    pub history: Vec<Hop>,
    /// The W3C trace id of the image's trace.
    pub trace_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CandidateState {
    InFlight,
    Stored,
    Rejected,
    Failed,
}

impl CandidateState {
    /// The name it is serialized with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Stored => "stored",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// How a candidate ends, once: what comes later changes nothing. Only one that failed
/// can be opened again, because a dead letter can be replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    pub candidate: CandidateId,
    pub image: Option<ImageId>,
    pub history: Vec<Hop>,
    pub trace_id: Option<String>,
    pub end: End,
}

#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Stored,
    Rejected { stage: String, reason: Reason },
    Failed { stage: String, error: String },
}

impl End {
    pub fn state(&self) -> CandidateState {
        match self {
            Self::Stored => CandidateState::Stored,
            Self::Rejected { .. } => CandidateState::Rejected,
            Self::Failed { .. } => CandidateState::Failed,
        }
    }
}

/// A document with the pixels and the label inside.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDocument {
    pub job: JobId,
    pub image: ImageId,
    pub candidate: CandidateId,
    pub source: Location,
    /// The normalized image, a JPEG.
    pub binary: Bytes,
    /// Of `binary`, in pixels.
    pub width: u32,
    pub height: u32,
    pub label: Label,
    pub how: LabelOrigin,
    pub opinion: Option<Prediction>,
    pub measurements: Measurements,
}

/// What freezing needs to know of an image: the document without its pixels, and
/// every label that the job's candidates with these bytes were given, the
/// rejected duplicates included.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFacts {
    pub image: ImageId,
    pub label: Label,
    /// Labels that duplicates of it carry and that differ from `label`.
    pub conflicting: Vec<Label>,
    /// Of the normalized image, in pixels.
    pub width: u32,
    pub height: u32,
    pub phash: u64,
    pub phash_mirrored: u64,
}

/// The books of a job: found = stored + rejected + failed + in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    pub found: u64,
    pub stored: u64,
    pub rejected: u64,
    pub failed: u64,
    pub in_flight: u64,
    /// By [`Reason::code`].
    pub rejected_by_reason: BTreeMap<String, u64>,
}

impl Books {
    /// Enters so many candidates more that are in `state`; `reason`: the code of that for
    /// which they were rejected.
    pub fn count(&mut self, state: CandidateState, reason: Option<&str>, candidates: u64) {
        self.found += candidates;
        if let Some(reason) = reason {
            *self
                .rejected_by_reason
                .entry(reason.to_owned())
                .or_default() += candidates;
        }
        *match state {
            CandidateState::InFlight => &mut self.in_flight,
            CandidateState::Stored => &mut self.stored,
            CandidateState::Rejected => &mut self.rejected,
            CandidateState::Failed => &mut self.failed,
        } += candidates;
    }
}

/// A frozen dataset. Its objects lie under `datasets/<id>/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    pub id: DatasetId,
    /// The job that froze it first.
    pub job: JobId,
    pub classes: Vec<Label>,
    /// Images by split (`train`, `validation`) and class.
    pub images: BTreeMap<String, BTreeMap<Label, u64>>,
    pub near_duplicate_groups: u64,
    /// Stored images that are in no split because their group has several labels.
    pub set_aside: u64,
    pub split: SplitSettings,
    pub created: u64,
}

/// One training run: a network on a dataset, done by one trainer at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub dataset: DatasetId,
    /// The job whose dataset was ready; `None` where a person asked for the run.
    pub job: Option<JobId>,
    pub network: NetworkName,
    pub settings: TrainingSettings,
    pub state: RunState,
    pub error: Option<String>,
    /// Epochs done.
    pub epoch: u32,
    /// Of the best epoch so far.
    pub accuracy: Option<f32>,
    pub loss: Option<f32>,
    /// Where it trains, such as `cpu (flex, 2 threads)`.
    pub device: Option<String>,
    /// W3C traceparent of the trace that asked for it.
    pub traceparent: Option<String>,
    pub created: u64,
}

impl Run {
    /// The run as it was before anybody began it.
    pub(crate) fn reopened(&self) -> Self {
        Self {
            state: RunState::Open,
            error: None,
            epoch: 0,
            accuracy: None,
            loss: None,
            device: None,
            ..self.clone()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Waiting for a trainer, or in the hands of one (see its lease).
    Open,
    Done,
    Failed,
}

/// A published model: weights, report and classes lie under `models/<id>/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The run that trained it.
    pub id: RunId,
    pub dataset: DatasetId,
    pub network: NetworkName,
    pub classes: Vec<Label>,
    /// Of the network's square input.
    pub pixels: u32,
    pub parameters: u64,
    /// Of the best epoch, on the validation split.
    pub accuracy: f32,
    pub loss: f32,
    /// Seconds of training, all attempts.
    pub seconds: f64,
    pub created: u64,
}

/// Work that one process at a time may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Work {
    Freeze(JobId),
    Train(RunId),
}

impl Work {
    /// From [`Work::kind`] and [`Work::id`].
    pub fn named(kind: &str, id: &str) -> Result<Self, InvalidId> {
        match kind {
            "freeze" => Ok(Self::Freeze(id.parse()?)),
            "train" => Ok(Self::Train(id.parse()?)),
            _ => Err(InvalidId {
                text: kind.to_owned(),
                expected: "a kind of work (freeze, train)",
            }),
        }
    }

    /// `freeze` or `train`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Freeze(_) => "freeze",
            Self::Train(_) => "train",
        }
    }

    /// Of what is worked on, as text.
    pub fn id(&self) -> String {
        match self {
            Self::Freeze(job) => job.to_string(),
            Self::Train(run) => run.to_string(),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.id())
    }
}

/// Who holds a piece of work. The holder counts `beat` up while it lives; whoever
/// sees the same `beat` for longer than the lease lasts, on its own monotonic
/// clock, may take it over. No two clocks are ever compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub work: Work,
    /// `None`: free.
    pub owner: Option<String>,
    pub beat: u64,
    /// How often in a row its holders died or gave it up for an error, without coming
    /// on in between.
    pub failures: u32,
}

impl Lease {
    pub(crate) fn taken_by(&self, owner: &str) -> Self {
        // Who takes its own back was only cut off from the catalog.
        let died = self.owner.as_deref().is_some_and(|holder| holder != owner);
        Self {
            owner: Some(owner.to_owned()),
            failures: self.failures.saturating_add(died.into()),
            ..self.renewed()
        }
    }

    pub(crate) fn renewed(&self) -> Self {
        Self {
            beat: self.beat + 1,
            ..self.clone()
        }
    }

    pub(crate) fn released(&self) -> Self {
        Self {
            owner: None,
            ..self.renewed()
        }
    }
}
