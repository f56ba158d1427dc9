//! Fetching the bytes behind a location, safely and politely.
//!
//! * `web`: the HTTP client; `file` reads local files under the same limits.
//! * `address`, `resolver`: only public addresses are asked.
//! * [`robots`], `host_limits`: a site's robots.txt is obeyed, and no host is asked
//!   too often.
//! * `limits`: how much one fetch may take, and all of them together.
//! * `body`, `error`: what comes of a fetch.

mod address;
mod body;
mod error;
mod file;
mod host_limits;
mod limits;
mod resolver;
pub mod robots;
mod web;

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use maskline_foundation::ByteBudget;
use maskline_messages::{ImageId, Location, Reason};
use maskline_storage::{SourceBucket, StorageError, StorageErrorKind};
use parking_lot::Mutex;

pub(crate) use error::FetchError;
pub(crate) use limits::FetchLimits;
pub(crate) use web::ResourceKind;

use body::Body;
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

impl Fetcher {
    pub(crate) fn new(limits: FetchLimits) -> anyhow::Result<Self> {
        Ok(Self {
            web: Web::new(limits, Arc::new(SystemResolver))?,
            budget: ByteBudget::new(limits.room()),
            limits,
            buckets: Mutex::new(LruCache::new(OPEN_BUCKETS)),
        })
    }

    /// Fetches the image that a source promises at `location`. The bytes are not checked, and
    /// need not be an image.
    pub(crate) async fn image(&self, location: &Location) -> Result<Body, FetchError> {
        match location {
            Location::Url(url) => {
                let response = self.web.get(url, ResourceKind::Image).await?;
                response.body(self.limits.bytes, &self.budget).await
            }
            Location::Path(path) => file::read(path, self.limits.bytes, &self.budget).await,
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
            Location::S3 { bucket, key } => self.object(bucket, key).await,
        }
    }

    async fn object(&self, bucket: &str, key: &str) -> Result<Body, FetchError> {
        let bucket = self.bucket(bucket).await.map_err(bucket_failure)?;
        let object = bucket.open_object(key).await.map_err(bucket_failure)?;
        let (bytes, most) = (object.size(), self.limits.bytes);
        match bytes {
            0 => return Err(Reason::Empty.into()),
            bytes if bytes > most => return Err(Reason::TooManyBytes { bytes, most }.into()),
            _ => {}
        }
        let room = self.budget.room(bytes).await;
        let bytes = object.read().await.map_err(bucket_failure)?;
        let image = ImageId::of(&bytes);
        Ok(Body::new(bytes, image, room))
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

    pub(crate) fn web(&self) -> &Web {
        &self.web
    }

    /// The room that all downloads share.
    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }
}
