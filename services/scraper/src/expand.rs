//! Expanding a source into the candidates in it, one step at a time.
//!
//! A step finds a bounded number of candidates and returns a cursor, at which the next step
//! begins and which travels in the message that asks for it. So a source of any size
//! is expanded in little memory, any replica can take the next step, and the expansion
//! goes on where it was when a process dies.
//!
//! * `folder`, [`list`], [`page`], `archive`, `bucket`, `dataset`, `search`: the kinds of source.
//! * `candidate`: what a step finds.
//! * `label`, `provenance`: the label and the provenance that a source gives to a candidate.
//! * `source_file`, `compression`, `text`, `parquet_file`, `json`, `columns`, `image_names`: how
//!   sources are read.
//! * `error`: how a step fails.

mod archive;
mod bucket;
pub(crate) mod candidate;
mod columns;
mod compression;
mod dataset;
pub(crate) mod error;
mod folder;
mod image_names;
mod json;
mod label;
pub mod list;
pub mod page;
mod parquet_file;
mod provenance;
pub(crate) mod search;
mod source_file;
#[cfg(test)]
mod tests;
mod text;

use std::{num::NonZeroUsize, sync::Arc};

use anyhow::anyhow;
use lru::LruCache;
use maskline_messages::{JobId, Labeling, Source, SourceRequested};
use maskline_storage::ObjectStore;
use parking_lot::Mutex;

pub use candidate::{ExpansionStep, SourceCandidate};
pub use error::ExpandError;

use crate::{fetch::Fetcher, turns::without_turn};
use archive::OpenArchive;
use dataset::OpenFile;
use list::{ListOptions, LocalList};
use maskline_foundation::walk::Walk;
use page::{Crawl, CrawlOptions, CrawlRequest};
use search::Searches;

/// How many sources have their open state kept between steps. A state that was dropped is
/// made anew, which takes time and changes nothing.
const OPEN_SOURCES: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// The open state of a source between two steps.
enum Open {
    Walk(Walk),
    List(Arc<LocalList>),
    Crawl(Crawl),
    Archive(OpenArchive),
    Dataset(OpenFile),
}

/// Expands sources of every kind.
pub(crate) struct Expander {
    fetcher: Arc<Fetcher>,
    objects: Arc<dyn ObjectStore>,
    searches: Searches,
    open: Mutex<LruCache<JobId, Open>>,
}

impl Expander {
    /// An expander that keeps in `objects` what is too large for a cursor.
    pub(crate) fn new(
        fetcher: Arc<Fetcher>,
        objects: Arc<dyn ObjectStore>,
        searches: Searches,
    ) -> Self {
        Self {
            fetcher,
            objects,
            searches,
            open: Mutex::new(LruCache::new(OPEN_SOURCES)),
        }
    }

    /// Takes the step that begins at the request's cursor. `attempts` says how often this step
    /// was tried before.
    pub(crate) async fn step(
        &self,
        request: &SourceRequested,
        attempts: u32,
    ) -> Result<ExpansionStep, ExpandError> {
        let kept = self.open.lock().pop(&request.job);
        let (step, open) = self.take_step(request, attempts, kept).await?;
        if step.next_cursor.is_some()
            && let Some(open) = open
        {
            self.open.lock().put(request.job, open);
        }
        Ok(step)
    }

    async fn take_step(
        &self,
        request: &SourceRequested,
        attempts: u32,
        kept: Option<Open>,
    ) -> Result<(ExpansionStep, Option<Open>), ExpandError> {
        let labeling = request.labeling.as_ref();
        let cursor = request.cursor.as_deref();
        match &request.source {
            Source::Folder { path } => {
                refuse_label_column(labeling, &request.source)?;
                let kept = match kept {
                    Some(Open::Walk(walk)) => Some(walk),
                    _ => None,
                };
                let (step, walk) = folder::step(path, labeling, cursor, kept).await?;
                Ok((step, Some(Open::Walk(walk))))
            }
            Source::Urls { list, url_column } => {
                let local = match kept {
                    Some(Open::List(local)) if !local.has_changed() => local,
                    _ => {
                        let options = ListOptions {
                            column: url_column.clone(),
                            labeling: labeling.cloned(),
                            folder: None,
                        };
                        Arc::new(LocalList::open(&self.fetcher, list, options).await?)
                    }
                };
                let step = list::step(local.clone(), cursor).await?;
                Ok((step, Some(Open::List(local))))
            }
            Source::Page {
                url,
                depth,
                same_site,
            } => {
                refuse_label_column(labeling, &request.source)?;
                let kept = match kept {
                    Some(Open::Crawl(crawl)) => Some(crawl),
                    _ => None,
                };
                let options = CrawlOptions {
                    url: url.clone(),
                    depth: *depth,
                    same_site: *same_site,
                };
                let request = CrawlRequest {
                    job: request.job,
                    options,
                    labeling,
                    cursor,
                    found: request.found,
                    attempts,
                };
                let stepped = page::step(&self.fetcher, &self.objects, request, kept);
                let (step, crawl) = stepped.await?;
                Ok((step, crawl.map(Open::Crawl)))
            }
            Source::Archive { archive } => {
                let kept = match kept {
                    Some(Open::Archive(open)) => Some(open),
                    _ => None,
                };
                let stepped = archive::step(&self.fetcher, archive, labeling, cursor, kept);
                let (step, open) = stepped.await?;
                Ok((step, Some(Open::Archive(open))))
            }
            Source::S3 { address } => {
                refuse_label_column(labeling, &request.source)?;
                let step = bucket::step(&self.fetcher, address, labeling, cursor);
                let step = without_turn(step).await?;
                Ok((step, None))
            }
            Source::Dataset { dataset } => {
                let kept = match kept {
                    Some(Open::Dataset(open)) => Some(open),
                    _ => None,
                };
                let stepped = dataset::step(&self.fetcher, dataset, labeling, cursor, kept);
                let (step, open) = stepped.await?;
                Ok((step, open.map(Open::Dataset)))
            }
            Source::Search(search) => {
                refuse_label_column(labeling, &request.source)?;
                let step = self.searches.step(search, labeling, cursor).await?;
                Ok((step, None))
            }
        }
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
