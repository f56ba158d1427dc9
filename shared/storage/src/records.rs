//! The records of the catalog: collections, jobs, candidates, images, datasets, runs, models,
//! leases, quotas.
//!
//! Times are milliseconds since the Unix epoch.

mod candidate;
mod collection;
mod counts;
mod dataset;
mod evaluation;
mod image;
mod job;
mod lease;
mod model;
mod quota;
mod run;
mod share;

pub use candidate::{Candidate, CandidateOutcome, NewCandidate, OutcomeKind};
pub use collection::{Collection, Settled, TrainingWish, Version};
pub use counts::Counts;
pub use dataset::{Dataset, SourceCount};
pub use evaluation::{Evaluation, SourceScore, SplitScore};
pub use image::{Claim, ImageDocument, ImageFacts, Sighting};
pub use job::{Job, Pause};
pub use lease::{Lease, Work};
pub use maskline_foundation::time::unix_millis as now;
pub use maskline_messages::{CandidateState, JobState, SplitSettings};
pub use model::Model;
pub(crate) use quota::{KEPT_IDLE, QuotaState};
pub use quota::{LONGEST_WAIT, Quota, Turn};
pub use run::{Run, RunState};
pub use share::{PLACES_LAST, Share, ShareLimit, ShareRequest};
