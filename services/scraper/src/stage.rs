//! The stage: sources in, candidates out; candidates in, raw bytes out.

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use maskline_messages::{
    CandidateFound, CandidateId, Hop, ImageFetched, ImageRejected, JobFailed, JobId, Labeling,
    Message, ObjectKey, Queue, Reason, SourceExpanded, SourceRequested,
};
use maskline_runtime::{Context, Failure, Intake, Outcome, Stage};
use maskline_storage::{
    ObjectStore,
    catalog::{Candidates, Jobs},
    records::{JobState, NewCandidate},
};

use crate::{
    NAME,
    expand::{ExpandError, Expander, ExpansionStep, SourceCandidate},
    fetch::Fetcher,
};

/// Candidates fetched at a time, unless asked otherwise: they wait for the
/// network most of the time.
const FETCHES: usize = 16;

/// Expands and fetches.
pub struct Scraper {
    objects: Arc<dyn ObjectStore>,
    jobs: Arc<dyn Jobs>,
    candidates: Arc<dyn Candidates>,
    fetcher: Arc<Fetcher>,
    expander: Expander,
}

impl Scraper {
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        jobs: Arc<dyn Jobs>,
        candidates: Arc<dyn Candidates>,
        fetcher: Fetcher,
    ) -> Self {
        let fetcher = Arc::new(fetcher);
        Self {
            objects,
            jobs,
            candidates,
            expander: Expander::new(fetcher.clone()),
            fetcher,
        }
    }
}

#[async_trait]
impl Stage for Scraper {
    fn name(&self) -> &'static str {
        NAME
    }

    fn intakes(&self) -> Vec<Intake> {
        vec![
            Intake {
                queue: Queue::ScraperSources,
                concurrency: 1,
            },
            Intake {
                queue: Queue::ScraperCandidates,
                concurrency: FETCHES,
            },
        ]
    }

    async fn handle(&self, message: Message, _context: &Context) -> Result<Outcome, Failure> {
        match message {
            Message::SourceRequested(request) => self.expand(request).await,
            Message::CandidateFound(candidate) => self.fetch(candidate).await,
            other => Err(Failure::poison(anyhow!(
                "the scraper has no use for {}",
                other.key()
            ))),
        }
    }
}

impl Scraper {
    /// Candidates are in the catalog, in flight, before any message about them is
    /// sent; the end of the expansion is sent after all of them.
    async fn expand(&self, request: SourceRequested) -> Result<Outcome, Failure> {
        let job = request.job;
        if !self.is_expanding(job).await? {
            // A step that comes again after the end adds nothing.
            return Ok(Outcome::done());
        }
        let step = match self.expander.step(&request).await {
            Ok(step) => step,
            Err(ExpandError::Source(error)) => {
                return Ok(Outcome::send(JobFailed {
                    job,
                    stage: NAME.to_owned(),
                    error,
                }));
            }
            Err(ExpandError::Retry { error, after }) => {
                return Err(Failure::Retry { error, after });
            }
        };
        let ExpansionStep {
            candidates: found,
            next_cursor,
        } = step;
        let by_column = matches!(request.labeling, Some(Labeling::Column));
        let id = |found: &SourceCandidate| match &found.label {
            Some(label) if by_column => CandidateId::of_labelled(job, &found.location, label),
            _ => CandidateId::of(job, &found.location),
        };
        let candidates: Vec<NewCandidate> = found
            .iter()
            .map(|found| NewCandidate {
                id: id(found),
                job,
                location: found.location.clone(),
                label: found.label.clone(),
            })
            .collect();
        self.candidates.add_candidates(&candidates).await?;
        let so_far = request.found + found.len() as u64;
        tracing::info!(%job, source = %request.source, found = so_far, more = next_cursor.is_some(), "expanded");
        let messages = found
            .into_iter()
            .map(|found| found_message(job, id(&found), found));
        let outcome = Outcome::send_all(messages.collect());
        Ok(match next_cursor {
            Some(cursor) => outcome.then(SourceRequested {
                cursor: Some(cursor),
                found: so_far,
                ..request
            }),
            None => outcome.then(SourceExpanded { job, found: so_far }),
        })
    }

    async fn is_expanding(&self, id: JobId) -> Result<bool, Failure> {
        let job = self.jobs.job(id).await?;
        let job = job.ok_or_else(|| {
            Failure::poison(anyhow!(
                "job {id} is not in the catalog: is this the catalog that it was enqueued in?"
            ))
        })?;
        Ok(job.state == JobState::Expanding)
    }

    async fn fetch(&self, candidate: CandidateFound) -> Result<Outcome, Failure> {
        let fetched = match self.fetcher.image(&candidate.location).await {
            Ok(fetched) => fetched,
            Err(error) => {
                let reason = error.into_reason()?;
                return Ok(Outcome::send(rejection(
                    candidate.job,
                    candidate.candidate,
                    reason,
                )));
            }
        };
        let image = fetched.body.image;
        let object = ObjectKey::raw(&image);
        let bytes = fetched.body.bytes.len() as u64;
        self.objects
            .put(&object, fetched.body.bytes.clone())
            .await?;
        Ok(Outcome::send(ImageFetched {
            job: candidate.job,
            candidate: candidate.candidate,
            location: candidate.location,
            label: candidate.label,
            image,
            object,
            bytes,
            content_type: fetched.content_type,
            history: vec![Hop::now(NAME)],
        }))
    }
}

fn found_message(job: JobId, candidate: CandidateId, found: SourceCandidate) -> Message {
    match found.rejected {
        Some(reason) => rejection(job, candidate, reason).into(),
        None => CandidateFound {
            job,
            candidate,
            location: found.location,
            label: found.label,
        }
        .into(),
    }
}

fn rejection(job: JobId, candidate: CandidateId, reason: Reason) -> ImageRejected {
    ImageRejected {
        job,
        candidate,
        image: None,
        stage: NAME.to_owned(),
        reason,
        history: vec![Hop::now(NAME)],
    }
}
