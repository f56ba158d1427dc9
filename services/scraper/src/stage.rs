//! The stage. It expands sources into candidates, and fetches the candidates' raw bytes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use maskline_messages::{
    CandidateFound, CandidateId, Hop, ImageFetched, ImageHeader, ImageId, JobFailed, JobId,
    Labeling, Message, ObjectKey, SourceExpanded, SourceRequested,
};
use maskline_runtime::{Context, Failure, Handler, Outcome};
use maskline_storage::{
    ObjectStore,
    catalog::{Candidates, Jobs},
    job_of_message,
    records::{JobState, NewCandidate},
};

use crate::{
    NAME,
    expand::{ExpandError, Expander, ExpansionStep, SourceCandidate},
    fetch::Fetcher,
};

/// How many candidates are fetched at a time, unless `--concurrency` says otherwise. Most
/// of the time they wait for the network.
const DEFAULT_CONCURRENCY: usize = 16;

/// How many objects an expansion puts at the same time.
const PUTS: usize = 8;

/// Expands sources: records their candidates and sends a message about each.
pub(crate) struct SourceHandler {
    jobs: Arc<dyn Jobs>,
    candidates: Arc<dyn Candidates>,
    objects: Arc<dyn ObjectStore>,
    expander: Expander,
}

impl SourceHandler {
    pub(crate) fn new(
        jobs: Arc<dyn Jobs>,
        candidates: Arc<dyn Candidates>,
        objects: Arc<dyn ObjectStore>,
        fetcher: Arc<Fetcher>,
    ) -> Self {
        Self {
            jobs,
            candidates,
            expander: Expander::new(fetcher, objects.clone()),
            objects,
        }
    }
}

#[async_trait]
impl Handler for SourceHandler {
    type Message = SourceRequested;

    fn concurrency(&self) -> usize {
        1
    }

    /// The candidates are in the catalog, in flight, before any message about them is sent.
    /// The next step, or the end of the expansion, is sent after these messages.
    async fn handle(
        &self,
        request: SourceRequested,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let job = request.job;
        if !self.is_expanding(job).await? {
            // The step was delivered again after the end of the expansion.
            return Ok(Outcome::done());
        }
        let step = match self.expander.step(&request, context.attempts).await {
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
        let by_column = matches!(request.labeling, Some(Labeling::Column { .. }));
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
                provenance: found.provenance.clone(),
            })
            .collect();
        self.candidates.add_candidates(&candidates).await?;
        let images = self.put_contents(&found).await?;
        let so_far = request.found + found.len() as u64;
        tracing::info!(%job, source = %request.source, found = so_far, more = next_cursor.is_some(), "expanded");
        let messages = found
            .into_iter()
            .zip(images)
            .map(|(found, image)| message(job, id(&found), found, image));
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
}

impl SourceHandler {
    /// Puts the bytes that the source itself holds into the object store, some at a time. Returns
    /// the image of each candidate, in their order.
    async fn put_contents(
        &self,
        found: &[SourceCandidate],
    ) -> Result<Vec<Option<ImageId>>, Failure> {
        let put = |content: Option<Bytes>| async move {
            let Some(content) = content else {
                return Ok(None);
            };
            let image = ImageId::of(&content);
            self.objects.put(&ObjectKey::raw(&image), content).await?;
            Ok(Some(image))
        };
        let contents: Vec<_> = found.iter().map(|found| found.content.clone()).collect();
        stream::iter(contents)
            .map(put)
            .buffered(PUTS)
            .try_collect()
            .await
    }

    async fn is_expanding(&self, id: JobId) -> Result<bool, Failure> {
        let job = job_of_message(&*self.jobs, id).await?;
        Ok(job.state == JobState::Expanding)
    }
}

/// Fetches candidates: puts their raw bytes into the object store.
pub(crate) struct CandidateHandler {
    objects: Arc<dyn ObjectStore>,
    fetcher: Arc<Fetcher>,
}

impl CandidateHandler {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, fetcher: Arc<Fetcher>) -> Self {
        Self { objects, fetcher }
    }
}

#[async_trait]
impl Handler for CandidateHandler {
    type Message = CandidateFound;

    fn concurrency(&self) -> usize {
        DEFAULT_CONCURRENCY
    }

    async fn handle(
        &self,
        candidate: CandidateFound,
        _context: &Context,
    ) -> Result<Outcome, Failure> {
        let fetched = match self.fetcher.image(&candidate.location).await {
            Ok(fetched) => fetched,
            Err(error) => {
                let reason = error.into_reason()?;
                return Ok(Outcome::send(candidate.reject(NAME, reason)));
            }
        };
        let image = fetched.image;
        let object = ObjectKey::raw(&image);
        let bytes = fetched.bytes.len() as u64;
        self.objects.put(&object, fetched.bytes.clone()).await?;
        Ok(Outcome::send(ImageFetched {
            header: ImageHeader {
                job: candidate.job,
                candidate: candidate.candidate,
                image,
                history: vec![Hop::now(NAME)],
            },
            location: candidate.location,
            label: candidate.label,
            object,
            bytes,
        }))
    }
}

/// The message about a candidate: fetch it, it is fetched already, or why that is of no use.
/// `image` is its content, if the source holds that.
fn message(job: JobId, id: CandidateId, found: SourceCandidate, image: Option<ImageId>) -> Message {
    if let (Some(image), Some(content), None) = (image, &found.content, &found.rejected) {
        return ImageFetched {
            header: ImageHeader {
                job,
                candidate: id,
                image,
                history: vec![Hop::now(NAME)],
            },
            object: ObjectKey::raw(&image),
            bytes: content.len() as u64,
            location: found.location,
            label: found.label,
        }
        .into();
    }
    let candidate = CandidateFound {
        job,
        candidate: id,
        location: found.location,
        label: found.label,
    };
    match found.rejected {
        Some(reason) => candidate.reject(NAME, reason).into(),
        None => candidate.into(),
    }
}
