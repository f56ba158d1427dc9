//! Expanding a source into the candidates in it, one step at a time.
//!
//! A step finds a bounded number of candidates and returns a cursor, at which the next step
//! begins and which travels in the message that asks for it. So a source of any size
//! is expanded in little memory, any replica can take the next step, and the expansion
//! goes on where it was when a process dies.
//!
//! * `folder`, [`list`], [`page`]: the three kinds of source.
//! * `candidate`: what a step finds.
//! * `label`: the label that a source gives to a candidate.
//! * `error`: how a step fails.

pub(crate) mod candidate;
mod columns;
mod compression;
pub(crate) mod error;
mod folder;
mod json;
mod label;
pub mod list;
pub mod page;
mod parquet_file;
mod provenance;
mod source_file;
mod text;

use std::{num::NonZeroUsize, sync::Arc};

use anyhow::anyhow;

use lru::LruCache;
use maskline_messages::{JobId, Labeling, Location, Source, SourceRequested};
use parking_lot::Mutex;

pub use candidate::{ExpansionStep, SourceCandidate};
pub use error::ExpandError;

use crate::fetch::Fetcher;
use folder::Walk;
use list::{ListOptions, LocalList};

/// How many sources have their open state kept between steps. A state that was dropped is
/// made anew, which takes time and changes nothing.
const OPEN_SOURCES: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// Expands sources of every kind.
pub(crate) struct Expander {
    fetcher: Arc<Fetcher>,
    walks: Mutex<LruCache<JobId, Walk>>,
    lists: Mutex<LruCache<JobId, Arc<LocalList>>>,
}

impl Expander {
    pub(crate) fn new(fetcher: Arc<Fetcher>) -> Self {
        Self {
            fetcher,
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
            Source::Urls { list, url_column } => {
                let options = ListOptions {
                    column: url_column.clone(),
                    labeling: labeling.cloned(),
                    folder: None,
                };
                let local = self.local_list(request.job, list, options).await?;
                let step = list::step(local, request.cursor.as_deref()).await?;
                if step.next_cursor.is_none() {
                    self.lists.lock().pop(&request.job);
                }
                Ok(step)
            }
            Source::Page { url, .. } => {
                refuse_label_column(labeling, &request.source)?;
                page::expand(&self.fetcher, url, labeling).await
            }
            _ => unreachable!(),
        }
    }

    /// The list as a local file. What this process has from an earlier step is used again,
    /// unless the file was changed since.
    async fn local_list(
        &self,
        job: JobId,
        list: &Location,
        options: ListOptions,
    ) -> Result<Arc<LocalList>, ExpandError> {
        let kept = self.lists.lock().get(&job).cloned();
        if let Some(local) = kept.filter(|local| !local.has_changed()) {
            return Ok(local);
        }
        let local = Arc::new(LocalList::open(&self.fetcher, list, options).await?);
        self.lists.lock().put(job, local.clone());
        Ok(local)
    }
}

/// Does `work` on a thread that may block. A library that panics over a file has found that
/// it is damaged, and would panic again: this is the end of the source that `what` names.
async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, ExpandError> + Send + 'static,
) -> Result<T, ExpandError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => Err(ExpandError::Source(format!(
            "{what} can't be read: it is damaged in a way that the program does not know"
        ))),
        Err(error) => Err(ExpandError::retry(
            anyhow!(error).context("the step was cut off"),
        )),
    }
}

fn refuse_label_column(labeling: Option<&Labeling>, source: &Source) -> Result<(), ExpandError> {
    match labeling {
        Some(Labeling::Column { .. }) => Err(ExpandError::Source(format!(
            "{source} has no label column, because only lists, datasets and archives tell labels. \
             Use --label CLASS or --label-from folder"
        ))),
        _ => Ok(()),
    }
}
