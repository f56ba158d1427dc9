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

use std::sync::Arc;

use maskline_foundation::{ByteBudget, time::unix_millis};
use maskline_messages::{Fetched, JobId, Location, Reason};
use maskline_storage::catalog::Quotas;

pub(crate) use error::FetchError;
pub(crate) use limits::FetchLimits;
pub(crate) use opt_out::check_page;
pub(crate) use site_limits::SiteLimits;
pub use user_agent::Contact;
pub(crate) use web::{ApiAnswer, ApiRequest, ResourceKind};

use body::Body;
use resolver::SystemResolver;
use web::Web;

/// Fetches whatever a location names.
pub(crate) struct Fetcher {
    web: Web,
    budget: ByteBudget,
    limits: FetchLimits,
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
        })
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
        }
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
