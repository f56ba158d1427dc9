//! The stage. It stores images and records how each candidate ended.

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use maskline_messages::{
    Hop, ImageFailed, ImageLabeled, ImageRejected, JobFailed, JobId, Reason, SourceExpanded,
    StorerImages, StorerJobs,
};
use maskline_runtime::{Context, Failure, Handler, Outcome};
use maskline_storage::{
    ObjectStore, StorageError, Stores,
    catalog::{Candidates, Images, Jobs, Leases},
    job_of_message, purge,
    records::{
        CandidateOutcome, CandidateState, Claim, ImageDocument, JobState, OutcomeKind, Work,
    },
    reopen,
};
use tokio::sync::Notify;

use crate::NAME;

/// How many images are stored at a time, unless `--concurrency` says otherwise. Most of the
/// time they wait for the catalog, which commits together what comes together.
const DEFAULT_CONCURRENCY: usize = 16;

/// Stores labeled images, and records how each candidate ended.
pub struct ImageHandler {
    pub objects: Arc<dyn ObjectStore>,
    pub candidates: Arc<dyn Candidates>,
    pub images: Arc<dyn Images>,
    /// For what comes of images that a person removed meanwhile.
    pub stores: Stores,
    /// Notified when a job may have become complete.
    pub progress: Arc<Notify>,
}

#[async_trait]
impl Handler for ImageHandler {
    type Message = StorerImages;

    fn concurrency(&self) -> usize {
        DEFAULT_CONCURRENCY
    }

    async fn handle(&self, message: StorerImages, context: &Context) -> Result<Outcome, Failure> {
        match message {
            StorerImages::ImageLabeled(labeled) => self.store(labeled, context).await?,
            StorerImages::ImageRejected(rejected) => self.reject(rejected, context).await?,
            StorerImages::ImageFailed(failed) => self.fail(failed, context).await?,
        }
        self.progress.notify_one();
        Ok(Outcome::done())
    }
}

impl ImageHandler {
    /// Writes the image's document before it records the candidate as stored, so that whoever
    /// sees the candidate as stored finds its image.
    async fn store(&self, labeled: ImageLabeled, context: &Context) -> Result<(), Failure> {
        let binary = self
            .objects
            .get(&labeled.normalized)
            .await
            .map_err(StorageError::behind)?;
        let header = labeled.header;
        let (candidate, image) = (header.candidate, header.image);
        let document = ImageDocument {
            collection: header.collection,
            job: header.job,
            image: header.image,
            candidate: header.candidate,
            source: labeled.location,
            binary,
            width: labeled.width,
            height: labeled.height,
            label: labeled.label,
            label_origin: labeled.label_origin,
            prediction: labeled.prediction,
            measurements: labeled.measurements,
        };
        let refused = match self.images.put_image(&document).await? {
            Claim::Held(holder) if holder == candidate => None,
            Claim::Held(holder) => Some(Reason::ExactDuplicate { of: holder }),
            Claim::Removed => Some(Reason::Removed),
        };
        let outcome = CandidateOutcome {
            candidate: header.candidate,
            image: Some(header.image),
            fetched: header.fetched,
            history: with_hop(header.history),
            trace_id: context.trace_id.clone(),
            kind: match refused {
                None => OutcomeKind::Stored,
                Some(reason) => OutcomeKind::Rejected {
                    stage: NAME.to_owned(),
                    reason,
                },
            },
        };
        match self.finish(header.job, &outcome).await? {
            // It may have been removed while it was on its way.
            CandidateState::Rejected => {
                Ok(purge::purge_latecomer(&self.stores, candidate, &image).await?)
            }
            _ => Ok(()),
        }
    }

    async fn reject(&self, rejected: ImageRejected, context: &Context) -> Result<(), Failure> {
        // What is unchanged was not fetched, and so has left nothing behind.
        let is_unchanged = matches!(rejected.reason, Reason::Unchanged { .. });
        let (candidate, fetched) = (rejected.candidate, rejected.image);
        let outcome = CandidateOutcome {
            candidate: rejected.candidate,
            image: rejected.image,
            fetched: rejected.fetched,
            history: with_hop(rejected.history),
            trace_id: context.trace_id.clone(),
            kind: OutcomeKind::Rejected {
                stage: rejected.stage,
                reason: rejected.reason,
            },
        };
        self.finish(rejected.job, &outcome).await?;
        match fetched.filter(|_| !is_unchanged) {
            Some(image) => Ok(purge::purge_latecomer(&self.stores, candidate, &image).await?),
            None => Ok(()),
        }
    }

    async fn fail(&self, failed: ImageFailed, context: &Context) -> Result<(), Failure> {
        let outcome = CandidateOutcome {
            candidate: failed.candidate,
            image: None,
            fetched: None,
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

    /// Records how the candidate ended, even if it was given up before. Returns the state that it
    /// is in then.
    async fn finish(
        &self,
        job: JobId,
        outcome: &CandidateOutcome,
    ) -> Result<CandidateState, Failure> {
        let candidate = outcome.candidate;
        match reopen::finish_candidate(&*self.candidates, job, outcome).await? {
            CandidateState::Failed => Err(Failure::retry(anyhow!(
                "candidate {candidate} of job {job} stays given up"
            ))),
            state => Ok(state),
        }
    }
}

/// Records the expansion and the failure of jobs, and logs published models.
pub struct JobHandler {
    pub jobs: Arc<dyn Jobs>,
    pub leases: Arc<dyn Leases>,
    /// Notified when a job may have become complete.
    pub progress: Arc<Notify>,
}

#[async_trait]
impl Handler for JobHandler {
    type Message = StorerJobs;

    fn concurrency(&self) -> usize {
        1
    }

    async fn handle(&self, message: StorerJobs, _context: &Context) -> Result<Outcome, Failure> {
        match message {
            StorerJobs::SourceExpanded(expanded) => self.expanded(expanded).await?,
            StorerJobs::JobFailed(failed) => self.failed(failed).await?,
            StorerJobs::ModelTrained(trained) => {
                let accuracy = f64::from(trained.accuracy);
                tracing::info!(model = %trained.run, network = %trained.network, accuracy, "a model is published");
            }
        }
        self.progress.notify_one();
        Ok(Outcome::done())
    }
}

impl JobHandler {
    /// Only a job that is still expanding fails. After that the failed step was only a copy
    /// of one that succeeded.
    async fn failed(&self, failed: JobFailed) -> Result<(), Failure> {
        let job = self.jobs.job(failed.job).await?;
        if job.is_some_and(|job| job.state == JobState::Expanding) {
            let error = format!("{}: {}", failed.stage, failed.error);
            self.jobs.fail_job(failed.job, &error).await?;
            tracing::error!(job = %failed.job, error, "the job failed");
        }
        Ok(())
    }

    /// From now on the job can become complete, and the freezer watches its collection. That
    /// is offered again only while the job is not frozen, because the message may be delivered
    /// once more long after.
    async fn expanded(&self, expanded: SourceExpanded) -> Result<(), Failure> {
        self.jobs.finish_expansion(expanded.job).await?;
        let job = job_of_message(&*self.jobs, expanded.job).await?;
        if job.freeze && job.state == JobState::Running {
            let freezing = Work::Freeze(job.collection);
            self.leases.offer_work_again(&freezing).await?;
        }
        Ok(())
    }
}

fn with_hop(mut history: Vec<Hop>) -> Vec<Hop> {
    history.push(Hop::now(NAME));
    history
}
