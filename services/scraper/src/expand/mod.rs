//! From a source to the candidates in it, one step at a time.
//!
//! A step finds about [`STEP`] candidates and says where the next one begins, so
//! that a source of any size is expanded in little memory, by whichever replica
//! takes the next message, and goes on where it was when a process dies.

pub mod folder;
pub mod list;
pub mod page;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lru::LruCache;
use maskline_messages::{JobId, Label, Labeling, Location, Reason, Source, SourceRequested};
use parking_lot::Mutex;
use thiserror::Error;
use url::Url;

use crate::fetch::{FetchError, Fetcher, address};
use folder::Walk;
use list::Spool;

/// About so many candidates are found in a step.
pub const STEP: usize = 1000;

/// Sources whose open state is kept between steps. All of it can be made anew.
const OPEN_SOURCES: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// One candidate of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub location: Location,
    pub label: Option<Label>,
    /// Why it is no good, where that is known without fetching it.
    pub rejected: Option<Reason>,
}

/// What one step found.
#[derive(Debug, Default)]
pub struct Step {
    pub found: Vec<Found>,
    /// Where the next step begins; `None`: this was the last.
    pub next: Option<String>,
}

#[derive(Debug, Error)]
pub enum ExpandError {
    /// The source can't be expanded, now or later; says what to do about it.
    #[error("{0}")]
    Source(String),
    /// Not now.
    #[error("{error:#}")]
    Retry {
        error: anyhow::Error,
        after: Option<Duration>,
    },
}

impl ExpandError {
    fn retry(error: impl Into<anyhow::Error>) -> Self {
        Self::Retry {
            error: error.into(),
            after: None,
        }
    }

    /// `what` is the page or list that could not be fetched.
    fn fetching(what: &str, error: FetchError) -> Self {
        match error {
            FetchError::Rejected(reason) => Self::Source(format!(
                "{what} can't be fetched: {reason}. Check the address and enqueue it again"
            )),
            FetchError::Retry { error, after } => Self::Retry {
                error: error.context(format!("fetching {what}")),
                after,
            },
        }
    }
}

/// Expands sources of every kind.
pub struct Expander {
    fetcher: Arc<Fetcher>,
    walks: Mutex<LruCache<JobId, Walk>>,
    spools: Mutex<LruCache<JobId, Arc<Spool>>>,
}

impl Expander {
    pub fn new(fetcher: Arc<Fetcher>) -> Self {
        Self {
            fetcher,
            walks: Mutex::new(LruCache::new(OPEN_SOURCES)),
            spools: Mutex::new(LruCache::new(OPEN_SOURCES)),
        }
    }

    /// The step that begins at the request's cursor.
    pub async fn step(&self, request: &SourceRequested) -> Result<Step, ExpandError> {
        let labeling = request.labeling.as_ref();
        match &request.source {
            Source::Folder { path } => {
                refuse_columns(labeling, &request.source)?;
                let kept = self.walks.lock().pop(&request.job);
                let (step, walk) =
                    folder::step(path, labeling, request.cursor.as_deref(), kept).await?;
                if step.next.is_some() {
                    self.walks.lock().put(request.job, walk);
                }
                Ok(step)
            }
            Source::Urls { list } => {
                let spool = self.spool(request.job, list).await?;
                let cursor = request.cursor.as_deref();
                let step = list::step(spool, list, labeling, cursor).await?;
                if step.next.is_none() {
                    self.spools.lock().pop(&request.job);
                }
                Ok(step)
            }
            Source::Page { url } => {
                refuse_columns(labeling, &request.source)?;
                page::expand(&self.fetcher, url, labeling).await
            }
        }
    }

    /// The list as a local file, fetched if this process has not done so yet.
    async fn spool(&self, job: JobId, list: &Location) -> Result<Arc<Spool>, ExpandError> {
        if let Some(spool) = self.spools.lock().get(&job) {
            return Ok(spool.clone());
        }
        let spool = Arc::new(Spool::open(&self.fetcher, list).await?);
        // A local file is cheap to open, and could change: looked at each time.
        if matches!(list, Location::Url(_)) {
            self.spools.lock().put(job, spool.clone());
        }
        Ok(spool)
    }
}

fn refuse_columns(labeling: Option<&Labeling>, source: &Source) -> Result<(), ExpandError> {
    match labeling {
        Some(Labeling::Column) => Err(ExpandError::Source(format!(
            "{source} has no label column: only a CSV list has. Use --label CLASS or --label-from folder"
        ))),
        _ => Ok(()),
    }
}

/// The label of a candidate in a folder of this name (`None`: in none).
fn folder_label(name: Option<&str>) -> Result<Option<Label>, Reason> {
    let Some(name) = name else {
        return Ok(None);
    };
    name.parse().map(Some).map_err(|_| Reason::BadLabel {
        text: address::shortened(name, 100),
    })
}

/// A candidate at `url`, labelled as asked for, unless by column.
fn found_at(url: Url, labeling: Option<&Labeling>) -> Found {
    let label = match labeling {
        Some(Labeling::Declared { label }) => Ok(Some(label.clone())),
        Some(Labeling::Folder) => folder_label(last_folder(&url).as_deref()),
        Some(Labeling::Column) | None => Ok(None),
    };
    Found {
        location: Location::Url(url),
        rejected: label.as_ref().err().cloned(),
        label: label.unwrap_or_default(),
    }
}

/// The last folder in the URL's path, as a person would write it.
fn last_folder(url: &Url) -> Option<String> {
    let mut segments = url.path_segments()?;
    segments.next_back()?;
    let folder = segments.next_back().filter(|name| !name.is_empty())?;
    let bytes = percent_encoding::percent_decode_str(folder);
    Some(bytes.decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_labelled_by_its_last_folder() {
        let label = |url: &str| {
            let found = found_at(url.parse().unwrap(), Some(&Labeling::Folder));
            (found.label.map(String::from), found.rejected)
        };
        let with = (Some("with_mask".to_owned()), None);
        assert_eq!(label("http://a/faces/with_mask/1.jpg"), with);
        assert_eq!(label("http://a/with%5Fmask/1.jpg?size=2"), with);
        assert_eq!(label("http://a/1.jpg"), (None, None));
        let bad = Reason::BadLabel {
            text: "with mask".to_owned(),
        };
        assert_eq!(label("http://a/with%20mask/1.jpg"), (None, Some(bad)));
    }
}
