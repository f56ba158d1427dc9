//! The counts of a job's candidates by state.

use std::collections::BTreeMap;

use maskline_messages::CandidateState;
use serde::{Deserialize, Serialize};

/// The counts of a job's candidates by state:
/// found = stored + rejected + failed + in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub found: u64,
    pub stored: u64,
    pub rejected: u64,
    pub failed: u64,
    pub in_flight: u64,
    /// Rejected candidates by the reason's code, see [`maskline_messages::Reason::code`].
    pub rejected_by_reason: BTreeMap<String, u64>,
}

impl Counts {
    /// Counts so many more candidates in `state`. `reason` is the code of the reason for
    /// which they were rejected.
    pub fn add(&mut self, state: CandidateState, reason: Option<&str>, candidates: u64) {
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
