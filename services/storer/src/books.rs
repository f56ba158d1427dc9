//! The stage: what became of each candidate.

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use maskline_messages::{
    Hop, ImageFailed, ImageLabeled, ImageRejected, JobFailed, JobId, Message, Queue, SourceExpanded,
};
use maskline_runtime::{Context, Failure, Intake, Outcome, Stage};
use maskline_storage::{
    ObjectStore, StorageError,
    catalog::{Candidates, Images, Jobs, Leases},
    records::{CandidateOutcome, CandidateState, ImageDocument, JobState, OutcomeKind, Work},
};
use tokio::sync::Notify;

use crate::NAME;

/// Images written at a time, unless asked otherwise: they wait for the catalog
/// most of the time, which commits those together that come together.
const IMAGES: usize = 16;

/// Writes the documents and keeps the books.
pub struct Books {
    pub objects: Arc<dyn ObjectStore>,
    pub jobs: Arc<dyn Jobs>,
    pub candidates: Arc<dyn Candidates>,
    pub images: Arc<dyn Images>,
    pub leases: Arc<dyn Leases>,
    /// Notified when a job may have become complete.
    pub progress: Arc<Notify>,
}

#[async_trait]
impl Stage for Books {
    fn name(&self) -> &'static str {
        NAME
    }

    fn intakes(&self) -> Vec<Intake> {
        vec![
            Intake {
                queue: Queue::StorerImages,
                concurrency: IMAGES,
            },
            Intake {
                queue: Queue::StorerJobs,
                concurrency: 1,
            },
        ]
    }

    async fn handle(&self, message: Message, context: &Context) -> Result<Outcome, Failure> {
        match message {
            Message::ImageLabeled(labeled) => self.store(labeled, context).await?,
            Message::ImageRejected(rejected) => self.reject(rejected, context).await?,
            Message::ImageFailed(failed) => self.fail(failed, context).await?,
            Message::SourceExpanded(expanded) => self.expanded(expanded).await?,
            Message::JobFailed(failed) => self.job_failed(failed).await?,
            Message::ModelTrained(trained) => {
                let accuracy = f64::from(trained.accuracy);
                tracing::info!(model = %trained.run, network = %trained.network, accuracy, "a model is published");
            }
            other => {
                return Err(Failure::poison(anyhow!(
                    "the storer has no use for {}",
                    other.key()
                )));
            }
        }
        self.progress.notify_one();
        Ok(Outcome::done())
    }
}

impl Books {
    /// The document first, then the end: whoever sees the candidate as stored
    /// finds its image.
    async fn store(&self, labeled: ImageLabeled, context: &Context) -> Result<(), Failure> {
        let ImageLabeled {
            validated,
            label,
            how,
            opinion,
        } = labeled;
        let fetched = validated.fetched;
        let binary = self
            .objects
            .get(&validated.normalized)
            .await
            .map_err(StorageError::behind)?;
        let document = ImageDocument {
            job: fetched.job,
            image: fetched.image,
            candidate: fetched.candidate,
            source: fetched.location,
            binary,
            width: validated.width,
            height: validated.height,
            label,
            label_origin: how,
            prediction: opinion,
            measurements: validated.measurements,
        };
        self.images.put_image(&document).await?;
        let outcome = CandidateOutcome {
            candidate: fetched.candidate,
            image: Some(fetched.image),
            history: with_hop(fetched.history),
            trace_id: context.trace_id.clone(),
            kind: OutcomeKind::Stored,
        };
        self.end(fetched.job, &outcome).await
    }

    async fn reject(&self, rejected: ImageRejected, context: &Context) -> Result<(), Failure> {
        let outcome = CandidateOutcome {
            candidate: rejected.candidate,
            image: rejected.image,
            history: with_hop(rejected.history),
            trace_id: context.trace_id.clone(),
            kind: OutcomeKind::Rejected {
                stage: rejected.stage,
                reason: rejected.reason,
            },
        };
        self.end(rejected.job, &outcome).await
    }

    async fn fail(&self, failed: ImageFailed, context: &Context) -> Result<(), Failure> {
        let outcome = CandidateOutcome {
            candidate: failed.candidate,
            image: None,
            history: vec![Hop::now(NAME)],
            trace_id: context.trace_id.clone(),
            kind: OutcomeKind::Failed {
                stage: failed.stage,
                error: failed.error,
            },
        };
        self.candidates.finish_candidate(&outcome).await?;
        Ok(())
    }

    /// What was given up and comes on all the same is opened again first: its job may
    /// have been frozen without it.
    async fn end(&self, job: JobId, outcome: &CandidateOutcome) -> Result<(), Failure> {
        let candidate = outcome.candidate;
        if self.candidates.finish_candidate(outcome).await? != CandidateState::Failed {
            return Ok(());
        }
        self.candidates.reopen_candidates(job, &[candidate]).await?;
        match self.candidates.finish_candidate(outcome).await? {
            // Given up once more in between, or the candidate of another job.
            CandidateState::Failed => Err(Failure::retry(anyhow!(
                "candidate {candidate} of job {job} stays given up"
            ))),
            _ => Ok(()),
        }
    }

    /// A job that is expanded has nothing to fear from a step that comes again.
    async fn job_failed(&self, failed: JobFailed) -> Result<(), Failure> {
        let job = self.jobs.job(failed.job).await?;
        if job.is_some_and(|job| job.state == JobState::Expanding) {
            let error = format!("{}: {}", failed.stage, failed.error);
            self.jobs.fail_job(failed.job, &error).await?;
            tracing::error!(job = %failed.job, error, "the job failed");
        }
        Ok(())
    }

    /// From now on the job may become complete, and the freezer watches it.
    async fn expanded(&self, expanded: SourceExpanded) -> Result<(), Failure> {
        self.jobs.finish_expansion(expanded.job).await?;
        self.leases.offer_work(&Work::Freeze(expanded.job)).await?;
        Ok(())
    }
}

fn with_hop(mut history: Vec<Hop>) -> Vec<Hop> {
    history.push(Hop::now(NAME));
    history
}
