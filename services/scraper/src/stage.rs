//! The stage. It expands sources into candidates, and fetches the candidates' raw bytes.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::anyhow;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use maskline_foundation::time::unix_millis;
use maskline_messages::{
    CandidateFound, CandidateId, CollectionName, Fetched, Hop, ImageFetched, ImageHeader, ImageId,
    ImageRejected, JobFailed, JobId, Labeling, Location, LocationId, ObjectKey, Reason,
    SourceExpanded, SourceRequested,
};
use maskline_runtime::{Context, Failure, Handler, Outcome};
use maskline_storage::{
    ObjectStore,
    catalog::{Candidates, Jobs, Removals},
    job_of_message,
    records::{Job, JobState, NewCandidate, Pause},
};

use crate::{
    NAME,
    expand::{ExpandError, Expander, ExpansionStep, SourceCandidate, search::Searches},
    fetch::{FetchedImage, Fetcher},
    turns::Turns,
};

/// How many candidates are in hand at a time, unless `--concurrency` says otherwise. Most of the
/// time they wait for the network, and some of them for slow servers, so that there must be
/// enough for others.
pub(crate) const DEFAULT_CONCURRENCY: usize = 64;

/// How many steps of expansions are in hand at a time. All but one of them wait for the network,
/// and some of them for servers that never answer, so that there must be enough for others.
const STEPS: usize = 32;

/// How many objects an expansion puts at the same time.
const PUTS: usize = 8;

/// Expands sources: records their candidates and sends a message about each.
pub(crate) struct SourceHandler {
    jobs: Arc<dyn Jobs>,
    candidates: Arc<dyn Candidates>,
    removals: Arc<dyn Removals>,
    objects: Arc<dyn ObjectStore>,
    expander: Expander,
    turns: Turns,
}

impl SourceHandler {
    pub(crate) fn new(
        jobs: Arc<dyn Jobs>,
        candidates: Arc<dyn Candidates>,
        removals: Arc<dyn Removals>,
        objects: Arc<dyn ObjectStore>,
        fetcher: Arc<Fetcher>,
        searches: Searches,
    ) -> Self {
        Self {
            jobs,
            candidates,
            removals,
            expander: Expander::new(fetcher, objects.clone(), searches),
            objects,
            turns: Turns::default(),
        }
    }

    /// Rejects what a person removed from the collection: the source itself, an image's location,
    /// or the page that shows it. The candidates are recorded before this looks: whoever removes
    /// the source after that finds them.
    async fn reject_removed(
        &self,
        collection: &CollectionName,
        job: JobId,
        found: &mut [SourceCandidate],
    ) -> Result<(), Failure> {
        let is_gone = job_of_message(&*self.jobs, job).await?.is_removed();
        let places_of = |found: &SourceCandidate| {
            let page = found.provenance.landing_page.clone().map(Location::Url);
            let page = page.as_ref().map(LocationId::of);
            [Some(LocationId::of(&found.location)), page]
        };
        let places: BTreeSet<LocationId> = found.iter().flat_map(places_of).flatten().collect();
        let places: Vec<LocationId> = places.into_iter().collect();
        let removed = self.removals.removed_places(collection, &places).await?;
        for found in found {
            let mut places = places_of(found).into_iter().flatten();
            if is_gone || places.any(|place| removed.contains(&place)) {
                found.rejected = Some(Reason::Removed);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for SourceHandler {
    type Message = SourceRequested;

    fn concurrency(&self) -> usize {
        STEPS
    }

    async fn handle(
        &self,
        request: SourceRequested,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        self.turns.take(self.expand(request, context)).await
    }
}

impl SourceHandler {
    /// Takes one step of a source. The candidates are in the catalog, in flight, before any
    /// message about them is sent. The next step, or the end of the expansion, is sent after these
    /// messages.
    async fn expand(
        &self,
        request: SourceRequested,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let Job {
            id: job,
            collection,
            state,
            removed,
            ..
        } = job_of_message(&*self.jobs, request.job).await?;
        if state != JobState::Expanding || removed.is_some() {
            // The step was delivered again after the end of the expansion, or nobody wants the
            // source any more.
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
            Err(ExpandError::Blocked(problem)) => return Err(Failure::poison(anyhow!(problem))),
            Err(ExpandError::Postponed { error, after }) => {
                let pause = Pause {
                    until: unix_millis().saturating_add(after.as_millis() as u64),
                    reason: format!("{error:#}"),
                };
                self.jobs.pause_expansion(job, &pause).await?;
                return Err(Failure::Postponed { error, after });
            }
            Err(ExpandError::Store(error)) => return Err(error.into()),
            Err(ExpandError::Retry { error, after }) => {
                return Err(Failure::Retry { error, after });
            }
        };
        let ExpansionStep {
            candidates: mut found,
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
                collection: collection.clone(),
                job,
                location: found.location.clone(),
                label: found.label.clone(),
                provenance: found.provenance.clone(),
            })
            .collect();
        self.candidates.add_candidates(&candidates).await?;
        self.reject_removed(&collection, job, &mut found).await?;
        let images = self.put_contents(&found).await?;
        let locations: Vec<_> = found.iter().map(|found| found.location.clone()).collect();
        let known = self
            .candidates
            .known_images(&collection, job, &locations)
            .await?;
        let so_far = request.found + found.len() as u64;
        tracing::info!(%job, source = %request.source, found = so_far, more = next_cursor.is_some(), "expanded");
        let messages = found
            .into_iter()
            .zip(known)
            .zip(images)
            .map(|((found, known), image)| {
                let candidate = CandidateFound {
                    collection: collection.clone(),
                    job,
                    candidate: id(&found),
                    location: found.location,
                    label: found.label,
                    known,
                };
                match (found.rejected, image) {
                    (Some(reason), _) => candidate.reject(NAME, reason).into(),
                    (None, Some(stored)) => fetched(candidate, stored).into(),
                    (None, None) => candidate.into(),
                }
            });
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

/// An image whose bytes the source itself held, in the object store.
struct Stored {
    image: ImageId,
    bytes: u64,
}

impl SourceHandler {
    /// Puts the bytes that the source itself holds into the object store, some at a time, except
    /// those of rejected candidates. Returns what each candidate has there, in their order.
    async fn put_contents(
        &self,
        found: &[SourceCandidate],
    ) -> Result<Vec<Option<Stored>>, Failure> {
        let put = |content: Option<Bytes>| async move {
            let Some(content) = content else {
                return Ok(None);
            };
            let (image, bytes) = (ImageId::of(&content), content.len() as u64);
            self.objects.put(&ObjectKey::raw(&image), content).await?;
            Ok(Some(Stored { image, bytes }))
        };
        let is_wanted = |found: &&SourceCandidate| found.rejected.is_none();
        let content = |found| Some(found).filter(is_wanted)?.content.clone();
        let contents: Vec<_> = found.iter().map(content).collect();
        stream::iter(contents)
            .map(put)
            .buffered(PUTS)
            .try_collect()
            .await
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
        let before = candidate.known.as_ref().map(|known| &known.fetched);
        let fetched = self
            .fetcher
            .image(candidate.job, &candidate.location, before)
            .await;
        let (body, fetched) = match fetched {
            Ok(FetchedImage::Bytes { body, fetched }) => (body, fetched),
            Ok(FetchedImage::Unchanged) => {
                return Ok(Outcome::send(unchanged(candidate)));
            }
            Err(error) => {
                let reason = error.into_reason()?;
                return Ok(Outcome::send(candidate.reject(NAME, reason)));
            }
        };
        let image = body.image;
        let object = ObjectKey::raw(&image);
        let bytes = body.bytes.len() as u64;
        self.objects.put(&object, body.bytes.clone()).await?;
        Ok(Outcome::send(ImageFetched {
            header: ImageHeader {
                collection: candidate.collection,
                job: candidate.job,
                candidate: candidate.candidate,
                image,
                fetched: Some(fetched),
                history: vec![Hop::now(NAME)],
            },
            location: candidate.location,
            label: candidate.label,
            object,
            bytes,
        }))
    }
}

/// The message that a candidate is fetched, because its source held its bytes.
fn fetched(candidate: CandidateFound, stored: Stored) -> ImageFetched {
    ImageFetched {
        header: ImageHeader {
            collection: candidate.collection,
            job: candidate.job,
            candidate: candidate.candidate,
            image: stored.image,
            fetched: Some(Fetched {
                at: unix_millis(),
                etag: None,
                last_modified: None,
            }),
            history: vec![Hop::now(NAME)],
        },
        location: candidate.location,
        label: candidate.label,
        object: ObjectKey::raw(&stored.image),
        bytes: stored.bytes,
    }
}

/// The message that a candidate is the image that its location had before.
fn unchanged(candidate: CandidateFound) -> ImageRejected {
    let known = candidate.known.clone();
    let known = known.expect("it was asked for under conditions");
    let reason = Reason::Unchanged {
        since: known.candidate,
    };
    ImageRejected {
        image: Some(known.image),
        fetched: Some(Fetched {
            at: unix_millis(),
            ..known.fetched
        }),
        ..candidate.reject(NAME, reason)
    }
}
