//! The life of a candidate and of a job: their states, the changes that lead from one to
//! another, and what ends when a message is given up.
//!
//! A **candidate** is in flight from when it is found until one message says what became
//! of it. Stored and rejected are for good. A failed one is in flight again when its dead
//! letter is replayed.
//!
//! ```text
//!                               ImageLabeled
//!                             ┌───────────────► stored
//!                             │ ImageRejected
//!   CandidateFound ► in flight├───────────────► rejected
//!                        ▲    │ ImageFailed
//!                        │    └───────────────► failed
//!                        │                        │
//!                        └────────────────────────┘
//!                          the dead letter is replayed
//! ```
//!
//! A **job** is expanding until all of its candidates are recorded, and running until its
//! collection is frozen, which needs that nothing of the collection is in flight. Then the job
//! is frozen in a version, or fails because no version can be made. It is running again when a
//! failed candidate of it is in flight again.
//!
//! ```text
//!                JobFailed
//!   expanding ───────────────► failed (while expanding)
//!    │     ▲                     │
//!    │     └─────────────────────┘
//!    │      the step's dead letter is replayed
//!    │
//!    │ SourceExpanded
//!    ▼        the collection is frozen
//!   running ───────────────────────► frozen
//!    │   ▲                             │
//!    │   ├─────────────────────────────┤
//!    │   │ a failed candidate is       │
//!    │   │ in flight again             │
//!    │   └─────────────────────────────┤
//!    │                                 │
//!    └───────────────────────► failed (after expanding)
//!      nothing can be frozen
//! ```
//!
//! Both kinds of failed job are in the state [`JobState::Failed`]. The catalog distinguishes
//! them: it records that a job has been expanded.
//!
//! A message is **given up** when its stage can't handle it. It becomes a dead letter, and
//! [`Message::ends`] says what fails with it: its candidate, or the expansion of its job.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::{
    ids::{CandidateId, JobId},
    image::ImageFailed,
    job::JobFailed,
    message::Message,
};

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum CandidateState {
    InFlight,
    Stored,
    Rejected,
    Failed,
}

impl CandidateState {
    pub const ALL: [Self; 4] = [Self::InFlight, Self::Stored, Self::Rejected, Self::Failed];

    /// The states in which a candidate is finished.
    pub const FINISHED: [Self; 3] = [Self::Stored, Self::Rejected, Self::Failed];

    /// A failed candidate is in flight again. One that is in flight stays so.
    pub const REOPEN: Change<Self> = Change {
        from: &[Self::Failed, Self::InFlight],
        to: Self::InFlight,
    };

    /// A candidate in flight is finished in the state `to`.
    pub const fn finish(to: Self) -> Change<Self> {
        Change {
            from: &[Self::InFlight],
            to,
        }
    }

    /// The name that it is serialized with.
    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum JobState {
    /// More candidates may be found.
    Expanding,
    /// All candidates are in the catalog, and some may be in flight.
    Running,
    /// The job's images are in a version of its collection.
    Frozen,
    Failed,
}

impl JobState {
    pub const ALL: [Self; 4] = [Self::Expanding, Self::Running, Self::Frozen, Self::Failed];

    /// Every candidate is recorded.
    pub const FINISH_EXPANSION: Change<Self> = Change {
        from: &[Self::Expanding],
        to: Self::Running,
    };

    /// The source can't be expanded.
    pub const FAIL_EXPANSION: Change<Self> = Change {
        from: &[Self::Expanding],
        to: Self::Failed,
    };

    /// The expansion waits for its turn at a server.
    pub const PAUSE_EXPANSION: Change<Self> = Change {
        from: &[Self::Expanding],
        to: Self::Expanding,
    };

    /// A step of the expansion is replayed. Only for a job that failed while expanding.
    pub const REOPEN_EXPANSION: Change<Self> = Change {
        from: &[Self::Failed],
        to: Self::Expanding,
    };

    /// The job's images are in a version of its collection.
    pub const FREEZE: Change<Self> = Change {
        from: &[Self::Running],
        to: Self::Frozen,
    };

    /// No version can be made of what the candidates became.
    pub const FAIL_FREEZING: Change<Self> = Change {
        from: &[Self::Running],
        to: Self::Failed,
    };

    /// Some of the job's failed candidates are in flight again. Only for a job that has
    /// been expanded; one that is running stays so.
    pub const REOPEN_FREEZING: Change<Self> = Change {
        from: &[Self::Running, Self::Frozen, Self::Failed],
        to: Self::Running,
    };

    /// The name that it is serialized with.
    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

/// A change of state: the states that it may begin from, and the one that it leads to. A job
/// or a candidate in another state stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<State: 'static> {
    pub from: &'static [State],
    pub to: State,
}

impl<State: PartialEq> Change<State> {
    /// Says whether something in this state changes.
    pub fn applies_to(&self, state: State) -> bool {
        self.from.contains(&state)
    }
}

/// What fails when a message is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Candidate { job: JobId, candidate: CandidateId },
    Expansion { job: JobId },
}

impl Message {
    /// What fails when this message is given up. `None` for messages without which no
    /// candidate and no job waits for ever, and for reports of failures themselves.
    pub fn ends(&self) -> Option<Ended> {
        match self {
            Self::CandidateFound(_)
            | Self::ImageFetched(_)
            | Self::ImageValidated(_)
            | Self::ImageLabeled(_)
            | Self::ImageRejected(_) => Some(Ended::Candidate {
                job: self.job()?,
                candidate: self.candidate()?,
            }),
            Self::SourceRequested(request) => Some(Ended::Expansion { job: request.job }),
            _ => None,
        }
    }

    /// The report that the storer must get before this message becomes a dead letter:
    /// otherwise its job would wait for the candidate for ever. `None` if nothing fails.
    pub fn failure(&self, stage: &str, error: &str, attempts: u32) -> Option<Message> {
        let (stage, error) = (stage.to_owned(), error.to_owned());
        Some(match self.ends()? {
            Ended::Candidate { job, candidate } => ImageFailed {
                job,
                candidate,
                stage,
                error,
                attempts,
            }
            .into(),
            Ended::Expansion { job } => JobFailed { job, stage, error }.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All pairs of states of which the first can become the second.
    fn pairs<State: Copy + Ord + PartialEq>(changes: &[Change<State>]) -> BTreeSet<(State, State)> {
        let pairs = changes
            .iter()
            .flat_map(|change| change.from.iter().map(|&from| (from, change.to)));
        pairs.filter(|(from, to)| from != to).collect()
    }

    #[test]
    fn a_candidate_moves_along_the_lines_of_the_diagram_and_no_others() {
        use CandidateState::{Failed, InFlight, Rejected, Stored};
        let finish = CandidateState::FINISHED.map(CandidateState::finish);
        let allowed = pairs(&[finish.as_slice(), &[CandidateState::REOPEN]].concat());
        let drawn = [
            (InFlight, Stored),
            (InFlight, Rejected),
            (InFlight, Failed),
            (Failed, InFlight),
        ];
        assert_eq!(allowed, BTreeSet::from(drawn));
    }

    #[test]
    fn a_job_moves_along_the_lines_of_the_diagram_and_no_others() {
        use JobState::{Expanding, Failed, Frozen, Running};
        let allowed = pairs(&[
            JobState::FINISH_EXPANSION,
            JobState::FAIL_EXPANSION,
            JobState::REOPEN_EXPANSION,
            JobState::FREEZE,
            JobState::FAIL_FREEZING,
            JobState::REOPEN_FREEZING,
        ]);
        let drawn = [
            (Expanding, Running),
            (Expanding, Failed),
            (Failed, Expanding),
            (Running, Frozen),
            (Running, Failed),
            (Frozen, Running),
            (Failed, Running),
        ];
        assert_eq!(allowed, BTreeSet::from(drawn));
    }

    #[test]
    fn states_are_serialized_with_their_names() {
        for state in CandidateState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for state in JobState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
