//! A candidate: something that the expansion of a source found, and what became of it.

use maskline_messages::{
    CandidateId, CandidateState, CollectionName, Fetched, Hop, ImageId, JobId, Label, Location,
    Provenance, Reason, lifecycle::Change,
};
use serde::{Deserialize, Serialize};

/// A candidate as the expansion found it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCandidate {
    pub id: CandidateId,
    pub collection: CollectionName,
    pub job: JobId,
    pub location: Location,
    pub label: Option<Label>,
    pub provenance: Provenance,
}

/// A candidate with its state and its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub id: CandidateId,
    pub collection: CollectionName,
    pub job: JobId,
    pub location: Location,
    /// The label that the source gives it.
    pub label: Option<Label>,
    #[serde(default, skip_serializing_if = "Provenance::is_empty")]
    pub provenance: Provenance,
    pub state: CandidateState,
    /// Known once the candidate was fetched.
    pub image: Option<ImageId>,
    /// How it was fetched.
    #[serde(default)]
    pub fetched: Option<Fetched>,
    /// The stage that rejected it or gave it up.
    pub stage: Option<String>,
    pub reason: Option<Reason>,
    pub error: Option<String>,
    pub history: Vec<Hop>,
    /// The W3C trace id of the image's trace.
    pub trace_id: Option<String>,
}

/// What became of a candidate. It is written once, and what comes later changes nothing.
/// Only a failed candidate can be opened again, because its dead letter can be replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateOutcome {
    pub candidate: CandidateId,
    /// `None` leaves the candidate's image as it is.
    pub image: Option<ImageId>,
    /// `None` leaves what is recorded of the fetching as it is.
    pub fetched: Option<Fetched>,
    pub history: Vec<Hop>,
    /// `None` leaves the candidate's trace id as it is.
    pub trace_id: Option<String>,
    pub kind: OutcomeKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum OutcomeKind {
    Stored,
    Rejected { stage: String, reason: Reason },
    Failed { stage: String, error: String },
}

/// The stage that a removed candidate's rejection comes from.
pub(crate) const REMOVED_BY: &str = "remove";

/// What stands in place of the location of a candidate of which nothing may be left.
pub(crate) fn erased_location() -> Location {
    Location::Path("removed".into())
}

impl OutcomeKind {
    /// The change of state that it makes.
    pub(crate) fn change(&self) -> Change<CandidateState> {
        CandidateState::finish(self.state())
    }

    /// The stage that it comes from, the reason of a rejection, and the error of a failure.
    pub(crate) fn details(&self) -> (Option<&str>, Option<&Reason>, Option<&str>) {
        match self {
            Self::Stored => (None, None, None),
            Self::Rejected { stage, reason } => (Some(stage), Some(reason), None),
            Self::Failed { stage, error } => (Some(stage), None, Some(error)),
        }
    }

    /// The state that the candidate is finished in.
    pub fn state(&self) -> CandidateState {
        match self {
            Self::Stored => CandidateState::Stored,
            Self::Rejected { .. } => CandidateState::Rejected,
            Self::Failed { .. } => CandidateState::Failed,
        }
    }
}
