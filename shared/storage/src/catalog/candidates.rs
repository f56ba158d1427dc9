//! Candidates, and how many of a job's are in which state.

use async_trait::async_trait;
use maskline_messages::{CandidateId, CollectionName, ImageId, JobId, KnownImage, Location};

use crate::{
    error::StorageError,
    records::{Candidate, CandidateOutcome, CandidateState, Counts, NewCandidate},
};

/// The candidates of all jobs.
#[async_trait]
pub trait Candidates: Send + Sync + 'static {
    /// Records candidates as in flight. Those that are there already stay as they are.
    async fn add_candidates(&self, candidates: &[NewCandidate]) -> Result<(), StorageError>;

    async fn candidate(&self, id: CandidateId) -> Result<Option<Candidate>, StorageError>;

    /// Lists the candidates, of all jobs, whose fetched bytes are `image`.
    async fn candidates_of(&self, image: &ImageId) -> Result<Vec<Candidate>, StorageError>;

    /// Looks up what earlier jobs of the collection fetched from these locations, in the order
    /// of `locations`: the image that was fetched last, if the collection has it and the server
    /// said how to ask whether it has changed.
    async fn known_images(
        &self,
        collection: &CollectionName,
        job: JobId,
        locations: &[Location],
    ) -> Result<Vec<Option<KnownImage>>, StorageError>;

    /// Lists at most `limit` of a job's candidates in `state`, sorted by id, beginning
    /// after the id `after`.
    async fn candidates_in(
        &self,
        job: JobId,
        state: CandidateState,
        after: Option<CandidateId>,
        limit: usize,
    ) -> Result<Vec<Candidate>, StorageError>;

    /// Writes what became of a candidate that is in flight. Returns the state that it is
    /// in now, which may be the state that it reached before.
    /// Fails with [`NotFound`](crate::StorageErrorKind::NotFound) if no such candidate was
    /// recorded.
    async fn finish_candidate(
        &self,
        outcome: &CandidateOutcome,
    ) -> Result<CandidateState, StorageError>;

    /// Puts those of the job's candidates that failed in flight again, and the job waits
    /// for them: a job that is expanded becomes `running`, and the freezing of its collection,
    /// if it was ever offered, is offered again. If none of the candidates failed and none
    /// is in flight, nothing changes.
    async fn reopen_candidates(
        &self,
        job: JobId,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError>;

    /// Counts the job's candidates by state. For a job of a million candidates it takes a
    /// few milliseconds, and some more for those in flight.
    async fn counts(&self, job: JobId) -> Result<Counts, StorageError>;
}
