//! Fetching the bytes behind a location, safely and politely.
//!
//! * `web`: the HTTP client; `file` reads local files under the same limits.
//! * `address`, `resolver`: only public addresses are asked.
//! * [`robots`], `opt_out`: what a site asks of robots is obeyed.
//! * `hosts`, `site_limits`: no site is asked too often, and none holds up the others.
//! * `limits`, `pace`: how much one fetch may take, and all of them together.
//! * `user_agent`: the name by which servers know this crawler.
//! * `body`, `error`: what comes of a fetch.

mod address;
mod body;
mod error;
mod file;
mod hosts;
mod limits;
mod opt_out;
mod pace;
mod resolver;
pub mod robots;
mod site_limits;
#[cfg(test)]
mod tests;
mod user_agent;
mod web;

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use maskline_foundation::{ByteBudget, time::unix_millis};
use maskline_messages::{Fetched, ImageId, JobId, Location, Reason};
use maskline_storage::{SourceBucket, StorageError, StorageErrorKind, catalog::Quotas};
use parking_lot::Mutex;

#[cfg(test)]
use maskline_test_support::environment::Environment;

pub(crate) use error::FetchError;
pub(crate) use limits::FetchLimits;
pub(crate) use opt_out::check_page;
pub(crate) use site_limits::SiteLimits;
pub use user_agent::Contact;
pub(crate) use web::{ApiAnswer, ApiRequest, ResourceKind};

pub(crate) use body::Body;
use resolver::SystemResolver;
use web::Web;

/// Fetches whatever a location names.
pub(crate) struct Fetcher {
    web: Web,
    budget: ByteBudget,
    limits: FetchLimits,
    buckets: Mutex<LruCache<String, Arc<SourceBucket>>>,
}

/// How many buckets are kept open.
const OPEN_BUCKETS: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

/// What an error of a bucket means for the image.
fn bucket_failure(error: StorageError) -> FetchError {
    match error.kind() {
        StorageErrorKind::Unavailable => FetchError::retry(error),
        _ => Reason::Unreadable {
            detail: format!("{:#}", anyhow::Error::new(error)),
        }
        .into(),
    }
}

/// What became of fetching an image.
pub(crate) enum FetchedImage {
    Bytes {
        body: Body,
        fetched: Fetched,
    },
    /// It has not changed since it was fetched before.
    Unchanged,
}

impl Fetcher {
    /// `contact` says whom a site's operator can ask about this crawler. `quotas` are where all
    /// scrapers share how often a site may be asked.
    pub(crate) fn new(
        limits: FetchLimits,
        contact: Option<&Contact>,
        quotas: Arc<dyn Quotas>,
    ) -> anyhow::Result<Self> {
        let user_agent = user_agent::user_agent(contact);
        Ok(Self {
            budget: ByteBudget::new(limits.room()),
            web: Web::new(
                limits.clone(),
                &user_agent,
                Arc::new(SystemResolver),
                quotas,
            )?,
            limits,
            buckets: Mutex::new(LruCache::new(OPEN_BUCKETS)),
        })
    }

    /// A fetcher for the tests of this crate, which keeps its quotas in the environment's catalog.
    #[cfg(test)]
    pub(crate) async fn for_tests(environment: &Environment, limits: FetchLimits) -> Arc<Self> {
        let quotas = environment.catalog().await;
        Arc::new(Self::new(limits, None, quotas).expect("the client starts"))
    }

    /// Fetches the image that a job's source promises at `location`. The bytes are not checked, and
    /// need not be an image. If it was fetched before, it is fetched only if it has changed.
    pub(crate) async fn image(
        &self,
        job: JobId,
        location: &Location,
        before: Option<&Fetched>,
    ) -> Result<FetchedImage, FetchError> {
        match location {
            Location::Url(url) => {
                let Some(response) = self.web.get_if_changed(job, url, before).await? else {
                    return Ok(FetchedImage::Unchanged);
                };
                let fetched = response.fetched();
                let body = response.body(self.limits.bytes, &self.budget).await?;
                Ok(FetchedImage::Bytes { body, fetched })
            }
            Location::Path(path) => {
                let body = file::read(path, self.limits.bytes, &self.budget).await?;
                let fetched = Fetched {
                    at: unix_millis(),
                    etag: None,
                    last_modified: None,
                };
                Ok(FetchedImage::Bytes { body, fetched })
            }
            Location::Line { line, .. } => Err(Reason::BadSourceLine {
                line: *line,
                text: String::new(),
                problem: "it names no URL that could be fetched".to_owned(),
            }
            .into()),
            // The expansion hands these over with their bytes.
            Location::Member { .. } => Err(Reason::Unreadable {
                detail: "it is inside of an archive: enqueue the archive again".to_owned(),
            }
            .into()),
            Location::S3 { bucket, key } => self.object(bucket, key, before).await,
        }
    }

    async fn object(
        &self,
        bucket: &str,
        key: &str,
        before: Option<&Fetched>,
    ) -> Result<FetchedImage, FetchError> {
        let bucket = self.bucket(bucket).await.map_err(bucket_failure)?;
        let before = before.and_then(|before| before.etag.as_deref());
        let opened = bucket.open_object(key, before).await;
        let Some(object) = opened.map_err(bucket_failure)? else {
            return Ok(FetchedImage::Unchanged);
        };
        let (bytes, most) = (object.size(), self.limits.bytes);
        match bytes {
            0 => return Err(Reason::Empty.into()),
            bytes if bytes > most => return Err(Reason::TooManyBytes { bytes, most }.into()),
            _ => {}
        }
        let etag = object.etag().map(str::to_owned);
        let room = self.budget.room(bytes).await;
        let bytes = object.read().await.map_err(bucket_failure)?;
        let image = ImageId::of(&bytes);
        Ok(FetchedImage::Bytes {
            body: Body::new(bytes, image, room),
            fetched: Fetched {
                at: unix_millis(),
                etag,
                last_modified: None,
            },
        })
    }

    /// The bucket at an address, `s3://BUCKET/PREFIX`. It is opened once.
    pub(crate) async fn bucket(&self, address: &str) -> Result<Arc<SourceBucket>, StorageError> {
        if let Some(bucket) = self.buckets.lock().get(address) {
            return Ok(bucket.clone());
        }
        let bucket = Arc::new(SourceBucket::open(address).await?);
        self.buckets.lock().put(address.to_owned(), bucket.clone());
        Ok(bucket)
    }

    /// The most bytes that one image may have.
    pub(crate) fn most_bytes(&self) -> u64 {
        self.limits.bytes
    }

    /// Whether what pages say against the use of their images is obeyed.
    pub(crate) fn obeys_opt_outs(&self) -> bool {
        !self.limits.ignore_opt_outs
    }

    pub(crate) fn web(&self) -> &Web {
        &self.web
    }

    /// The room that all downloads share.
    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }
}
