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

use std::sync::Arc;

use maskline_foundation::ByteBudget;
use maskline_messages::{Location, Reason};

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
}

impl Fetcher {
    pub(crate) fn new(limits: FetchLimits) -> anyhow::Result<Self> {
        Ok(Self {
            web: Web::new(limits, Arc::new(SystemResolver))?,
            budget: ByteBudget::new(limits.room()),
            limits,
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
            Location::S3 { .. } => unreachable!(),
        }
    }

    pub(crate) fn web(&self) -> &Web {
        &self.web
    }

    /// The room that all downloads share.
    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }
}
