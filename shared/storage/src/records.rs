//! The records of the catalog: collections, jobs, candidates, images, datasets, runs, models,
//! studies, leases, quotas.
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
mod study;
mod trial;

pub use candidate::{Candidate, CandidateOutcome, NewCandidate, OutcomeKind};
pub(crate) use candidate::{REMOVED_BY, erased_location};
pub use collection::{Collection, Settled, TrainingWish, Version};
pub use counts::Counts;
pub use dataset::{Dataset, SourceCount};
pub use evaluation::{Evaluation, SourceScore, SplitScore};
pub use image::{Claim, ImageDocument, ImageFacts, Removal, Sighting};
pub use job::{Job, Pause};
pub use lease::{Lease, Work};
pub use maskline_foundation::time::unix_millis as now;
pub use maskline_messages::{CandidateState, JobState, SplitSettings};
pub use model::Model;
pub(crate) use quota::{KEPT_IDLE, QuotaState};
pub use quota::{LONGEST_WAIT, Quota, Turn};
pub use run::{Run, RunState};
pub use share::{PLACES_LAST, Share, ShareLimit, ShareRequest};
pub use study::{Study, StudyState, TrialOutcome, TrialResult, TrialRung};
pub use trial::{RungScore, Trial, TrialEnd};
