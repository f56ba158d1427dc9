//! Expanding a source into the candidates in it, one step at a time.
//!
//! A step finds a bounded number of candidates and returns a cursor, at which the next step
//! begins and which travels in the message that asks for it. So a source of any size
//! is expanded in little memory, any replica can take the next step, and the expansion
//! goes on where it was when a process dies.
//!
//! * `folder`, [`list`], [`page`], `search`: the four kinds of source.
//! * `candidate`: what a step finds.
//! * `label`: the label that a source gives to a candidate.
//! * `error`: how a step fails.

pub(crate) mod candidate;
pub(crate) mod error;
mod folder;
mod label;
pub mod list;
pub mod page;
pub(crate) mod search;

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use maskline_messages::{JobId, Labeling, Location, Source, SourceRequested};
use parking_lot::Mutex;

pub use candidate::{ExpansionStep, SourceCandidate};
pub use error::ExpandError;

use crate::fetch::Fetcher;
use folder::Walk;
use list::LocalList;
use search::Searches;

/// How many sources have their open state kept between steps. A state that was dropped is
/// made anew, which takes time and changes nothing.
const OPEN_SOURCES: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// Expands sources of every kind.
pub(crate) struct Expander {
    fetcher: Arc<Fetcher>,
    walks: Mutex<LruCache<JobId, Walk>>,
    lists: Mutex<LruCache<JobId, Arc<LocalList>>>,
    searches: Searches,
}

impl Expander {
    pub(crate) fn new(fetcher: Arc<Fetcher>, searches: Searches) -> Self {
        Self {
            fetcher,
            searches,
            walks: Mutex::new(LruCache::new(OPEN_SOURCES)),
            lists: Mutex::new(LruCache::new(OPEN_SOURCES)),
        }
    }

    /// Takes the step that begins at the request's cursor.
    pub(crate) async fn step(
        &self,
        request: &SourceRequested,
    ) -> Result<ExpansionStep, ExpandError> {
        let labeling = request.labeling.as_ref();
        match &request.source {
            Source::Folder { path } => {
                refuse_label_column(labeling, &request.source)?;
                let kept = self.walks.lock().pop(&request.job);
                let (step, walk) =
                    folder::step(path, labeling, request.cursor.as_deref(), kept).await?;
                if step.next_cursor.is_some() {
                    self.walks.lock().put(request.job, walk);
                }
                Ok(step)
            }
            Source::Urls { list } => {
                let local = self.local_list(request.job, list).await?;
                let cursor = request.cursor.as_deref();
                let step = list::step(local, list, labeling, cursor).await?;
                if step.next_cursor.is_none() {
                    self.lists.lock().pop(&request.job);
                }
                Ok(step)
            }
            Source::Page { url } => {
                refuse_label_column(labeling, &request.source)?;
                page::expand(&self.fetcher, url, labeling).await
            }
            Source::Search(search) => {
                refuse_label_column(labeling, &request.source)?;
                let cursor = request.cursor.as_deref();
                self.searches.step(search, labeling, cursor).await
            }
        }
    }

    /// The list as a local file. A list on the web is fetched unless this process still
    /// has it from an earlier step.
    async fn local_list(&self, job: JobId, list: &Location) -> Result<Arc<LocalList>, ExpandError> {
        if let Some(local) = self.lists.lock().get(&job) {
            return Ok(local.clone());
        }
        let local = Arc::new(LocalList::open(&self.fetcher, list).await?);
        // A local file is cheap to open and may have changed, so it is opened for each step.
        if matches!(list, Location::Url(_)) {
            self.lists.lock().put(job, local.clone());
        }
        Ok(local)
    }
}

fn refuse_label_column(labeling: Option<&Labeling>, source: &Source) -> Result<(), ExpandError> {
    match labeling {
        Some(Labeling::Column) => Err(ExpandError::Source(format!(
            "{source} has no label column, because only a CSV list has columns. \
             Use --label CLASS or --label-from folder"
        ))),
        _ => Ok(()),
    }
}
