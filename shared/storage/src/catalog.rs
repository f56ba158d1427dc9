//! Everything that is known about jobs and their images.

mod mongodb;
mod span;
mod sqlite;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::{CandidateId, DatasetId, ImageId, JobId, RunId};

use crate::{
    error::StorageError,
    records::{
        Books, Candidate, CandidateState, Dataset, Ending, ImageDocument, ImageFacts, Job, Lease,
        Model, NewCandidate, Run, Settled, Work,
    },
};

pub use mongodb::MongodbCatalog;
pub use sqlite::SqliteCatalog;

/// Opens the catalog at an address, and makes its tables and indexes where they
/// are missing:
///
/// * `sqlite:PATH` for a file on this machine that its processes share, such as
///   `sqlite:maskline-data/catalog.db`;
/// * `mongodb://user:password@host/database` for MongoDB; the database is
///   `maskline` where none is named.
///
/// [`StorageError::Unavailable`] within seconds where nothing answers,
/// [`StorageError::Misconfigured`] for an address that can't be used. No error
/// repeats the password.
pub async fn open(url: &str) -> Result<Arc<dyn Catalog>, StorageError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            let problem = "no file is named: write sqlite:PATH, such as sqlite:data/catalog.db";
            return Err(StorageError::Misconfigured(problem.to_owned()));
        }
        return Ok(Arc::new(SqliteCatalog::open(Path::new(path)).await?));
    }
    let scheme = url.split(':').next().unwrap_or_default();
    if matches!(scheme, "mongodb" | "mongodb+srv") {
        return Ok(Arc::new(MongodbCatalog::open(url).await?));
    }
    Err(StorageError::Misconfigured(
        "the address names no catalog: write sqlite:PATH or mongodb://user:password@host/database"
            .to_owned(),
    ))
}

/// The catalog: MongoDB, or SQLite.
///
/// Every verb is idempotent and durable when it returns, and none needs a
/// transaction over several documents: a process may be killed between any two
/// calls and the books still hold. The documents are the truth: what is counted
/// beside them is what can no longer change, or changes with them.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Whether the catalog answers now.
    async fn ping(&self) -> Result<(), StorageError>;

    // Jobs

    /// Records a job; one that is there already stays as it is.
    async fn create_job(&self, job: &Job) -> Result<(), StorageError>;
    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError>;
    /// The newest first.
    async fn jobs(&self, most: usize) -> Result<Vec<Job>, StorageError>;
    /// `expanding` → `running`: every candidate is recorded.
    async fn finish_expansion(&self, job: JobId) -> Result<(), StorageError>;
    /// `expanding` → `failed`.
    async fn fail_job(&self, job: JobId, error: &str) -> Result<(), StorageError>;
    /// `failed` → `expanding`, where the expansion never came to its end, for a step of
    /// it that is sent back: the dead letter of that name.
    async fn reopen_expansion(&self, job: JobId, letter: &str) -> Result<(), StorageError>;

    // Candidates

    /// Records candidates as in flight; those that are there stay as they are.
    async fn add_candidates(&self, candidates: &[NewCandidate]) -> Result<(), StorageError>;
    async fn candidate(&self, id: CandidateId) -> Result<Option<Candidate>, StorageError>;
    /// The candidates, of all jobs, whose fetched bytes are `image`.
    async fn candidates_of(&self, image: &ImageId) -> Result<Vec<Candidate>, StorageError>;
    /// A job's candidates in `state`, by id, those after `after` only.
    async fn candidates_in(
        &self,
        job: JobId,
        state: CandidateState,
        after: Option<CandidateId>,
        most: usize,
    ) -> Result<Vec<Candidate>, StorageError>;
    /// The candidate that may stand for these bytes in this job: the first that
    /// claimed them, for ever. The same answer for all who ask.
    async fn claim_image(
        &self,
        job: JobId,
        image: &ImageId,
        candidate: CandidateId,
    ) -> Result<CandidateId, StorageError>;
    /// Ends a candidate that is in flight, see [`Ending`]. Returns how it has ended,
    /// now or before. [`StorageError::NotFound`] where no such candidate was recorded.
    async fn end_candidate(&self, ending: &Ending) -> Result<CandidateState, StorageError>;
    /// Those of the job's candidates that failed are in flight again, and the job waits
    /// for them: one that is expanded becomes `running`, its freezing is open again,
    /// and nobody has a hold on it. Where all have ended for good nothing changes.
    async fn reopen_candidates(
        &self,
        job: JobId,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError>;
    /// Of a job of a million candidates in a few milliseconds, and some more for those
    /// in flight.
    async fn books(&self, job: JobId) -> Result<Books, StorageError>;
    /// Whether the job is `running` and none of its candidates is in flight. Its cost
    /// does not grow with the job.
    async fn settled(&self, job: JobId) -> Result<Option<Settled>, StorageError>;

    // Images

    /// Writes the document of an image, over one of the same job and bytes.
    /// Comes before its candidate ends as stored.
    async fn put_image(&self, image: &ImageDocument) -> Result<(), StorageError>;
    /// Facts of the job's images whose candidates ended as stored, by image id,
    /// those after `after` only.
    async fn image_facts(
        &self,
        job: JobId,
        after: Option<&ImageId>,
        most: usize,
    ) -> Result<Vec<ImageFacts>, StorageError>;
    /// The pixels ([`ImageDocument::binary`]) of some of a job's images, in the
    /// order asked for; [`StorageError::NotFound`] if one is missing.
    async fn image_bytes(&self, job: JobId, images: &[ImageId])
    -> Result<Vec<Bytes>, StorageError>;
    async fn image(
        &self,
        job: JobId,
        image: &ImageId,
    ) -> Result<Option<ImageDocument>, StorageError>;

    // Leases

    /// Offers work: from now on it can be leased. Work that was offered before,
    /// done or not, stays as it is.
    async fn offer(&self, work: &Work) -> Result<(), StorageError>;
    /// Work that was offered and is not done, with who holds it; `kind` as in [`Work`]'s `kind`.
    async fn open_work(&self, kind: &str) -> Result<Vec<Lease>, StorageError>;
    /// Takes the work if its lease is still as it was `seen`; that it is taken out of
    /// another's hands counts as a failure. Returns the lease now held.
    async fn take(&self, seen: &Lease, owner: &str) -> Result<Option<Lease>, StorageError>;
    /// Counts the beat up and writes the lease's failures. `None`: it was taken over,
    /// stop working.
    async fn renew(&self, lease: &Lease) -> Result<Option<Lease>, StorageError>;
    /// Gives the work back undone, with the lease's failures, if it is still held.
    async fn release(&self, lease: &Lease) -> Result<(), StorageError>;
    /// Done: it is offered no more. `false`: it is not held any more.
    async fn finish(&self, lease: &Lease) -> Result<bool, StorageError>;

    // Datasets, runs, models

    /// Records a dataset and marks `job` as frozen with it, unless it was opened again
    /// since it was `settled`.
    async fn freeze(
        &self,
        job: JobId,
        dataset: &Dataset,
        settled: Settled,
    ) -> Result<(), StorageError>;
    /// `running` → `failed`, unless it was opened again since it was `settled`.
    async fn fail_settled(
        &self,
        job: JobId,
        error: &str,
        settled: Settled,
    ) -> Result<(), StorageError>;
    async fn dataset(&self, id: &DatasetId) -> Result<Option<Dataset>, StorageError>;
    /// The newest first.
    async fn datasets(&self, most: usize) -> Result<Vec<Dataset>, StorageError>;
    /// Records a run; one that is there already stays as it is.
    async fn create_run(&self, run: &Run) -> Result<(), StorageError>;
    async fn run(&self, id: RunId) -> Result<Option<Run>, StorageError>;
    /// The newest first; those of one dataset, or all.
    async fn runs(
        &self,
        dataset: Option<&DatasetId>,
        most: usize,
    ) -> Result<Vec<Run>, StorageError>;
    /// Writes state, error, epoch, accuracy, loss and device of a run.
    async fn update_run(&self, run: &Run) -> Result<(), StorageError>;
    /// A run that failed is `open` again, as if nobody had begun it, and so is the work
    /// on it. Any other stays as it is.
    async fn reopen_run(&self, id: RunId) -> Result<(), StorageError>;
    async fn publish_model(&self, model: &Model) -> Result<(), StorageError>;
    async fn model(&self, id: RunId) -> Result<Option<Model>, StorageError>;
    /// The newest first.
    async fn models(&self, most: usize) -> Result<Vec<Model>, StorageError>;
}
