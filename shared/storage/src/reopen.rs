//! Opens candidates and jobs again before their dead letters are replayed, so that the job
//! waits for the candidate and no stage ignores it as finished. The states and their changes
//! are drawn in [`maskline_messages::lifecycle`].

use std::collections::{BTreeMap, BTreeSet};

use maskline_messages::{CandidateId, CandidateState, JobId, JobState, Message, lifecycle::Ended};

use crate::{
    catalog::{Candidates, Jobs},
    error::StorageError,
    records::CandidateOutcome,
};

/// The parts of a dead letter that the catalog needs.
#[derive(Debug, Clone, Copy)]
pub struct DeadMessage<'a> {
    /// The id of the dead letter.
    pub id: &'a str,
    /// The stage that gave the message up. Empty if the broker itself did.
    pub stage: &'a str,
    /// The message's JSON.
    pub body: &'a [u8],
}

impl DeadMessage<'_> {
    /// What failed when the message was given up. `None` if no stage gave it up: then
    /// nobody reported a failure.
    fn ended(&self) -> Option<Ended> {
        if self.stage.is_empty() {
            return None;
        }
        Message::from_json(self.body).ok()?.ends()
    }
}

/// The result of [`reopen`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reopened<'a> {
    /// The ids of the dead letters that can be replayed now.
    pub ready: Vec<&'a str>,
    /// The jobs that had ended without what is replayed, and wait for it now.
    pub jobs: BTreeSet<JobId>,
    /// The jobs that are not recorded as failed yet although a step of their expansion was
    /// given up. If the step was replayed now, the job would fail while it is in flight.
    pub early: BTreeSet<JobId>,
}

/// Opens what the dead letters are about. Doing it again changes nothing.
pub async fn reopen<'a>(
    catalog: &(impl Jobs + Candidates + ?Sized),
    dead_letters: impl IntoIterator<Item = DeadMessage<'a>>,
) -> Result<Reopened<'a>, StorageError> {
    let mut reopened = Reopened::default();
    let mut failed: BTreeMap<JobId, Vec<CandidateId>> = BTreeMap::new();
    for dead in dead_letters {
        match dead.ended() {
            Some(Ended::Expansion { job }) if !reopen_expansion(catalog, job, dead.id).await? => {
                reopened.early.insert(job);
                continue;
            }
            Some(Ended::Candidate { job, candidate }) => {
                failed.entry(job).or_default().push(candidate);
            }
            _ => {}
        }
        reopened.ready.push(dead.id);
    }
    for (job, candidates) in failed {
        let before = state(catalog, job).await?;
        catalog.reopen_candidates(job, &candidates).await?;
        let is_open = state(catalog, job).await? == Some(JobState::Running);
        if is_open && matches!(before, Some(JobState::Frozen | JobState::Failed)) {
            reopened.jobs.insert(job);
        }
    }
    Ok(reopened)
}

/// Writes what became of a candidate, given up before or not. A candidate that was given up,
/// and goes on all the same, is opened again first, because its job may have been frozen
/// without it. Returns the state that the candidate is in then: [`CandidateState::Failed`] if
/// it was given up once more in between, or is the candidate of another job.
pub async fn finish_candidate(
    candidates: &(impl Candidates + ?Sized),
    job: JobId,
    outcome: &CandidateOutcome,
) -> Result<CandidateState, StorageError> {
    let state = candidates.finish_candidate(outcome).await?;
    if state != CandidateState::Failed {
        return Ok(state);
    }
    let reopened = [outcome.candidate];
    candidates.reopen_candidates(job, &reopened).await?;
    candidates.finish_candidate(outcome).await
}

/// Returns `false` if the job is not recorded as failed yet.
async fn reopen_expansion(
    jobs: &(impl Jobs + ?Sized),
    job: JobId,
    dead_letter: &str,
) -> Result<bool, StorageError> {
    // If there is no such job, the scraper reports that when it gets the message.
    let Some(record) = jobs.job(job).await? else {
        return Ok(true);
    };
    if record.state == JobState::Expanding {
        return Ok(record.replayed.as_deref() == Some(dead_letter));
    }
    jobs.reopen_expansion(job, dead_letter).await?;
    Ok(true)
}

async fn state(jobs: &(impl Jobs + ?Sized), job: JobId) -> Result<Option<JobState>, StorageError> {
    Ok(jobs.job(job).await?.map(|job| job.state))
}
