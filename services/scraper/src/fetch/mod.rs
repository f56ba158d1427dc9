//! From a location to its bytes, safely and politely.

pub mod address;
pub mod error;
mod file;
mod hosts;
pub mod robots;
pub mod web;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use maskline_foundation::{ByteBudget, ByteRoom};
use maskline_messages::{ImageId, Location, Reason};
use reqwest::dns::Resolve;

pub use error::FetchError;
use {
    address::System,
    web::{Wanted, Web},
};

/// What a fetch may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one image.
    pub bytes: u64,
    /// Of all downloads in hand together.
    pub bytes_in_flight: u64,
    pub connect_timeout: Duration,
    /// Of one request, from its start to the body's end.
    pub timeout: Duration,
    /// The same for a list of URLs.
    pub list_timeout: Duration,
    pub redirects: u32,
    /// Requests to one host at a time.
    pub per_host: usize,
    /// Requests to one host per second.
    pub per_host_rate: NonZeroU32,
    pub allow_private_hosts: bool,
    pub ignore_robots: bool,
}

/// The bytes of something fetched.
pub struct Body {
    pub bytes: Bytes,
    /// Their SHA-256.
    pub image: ImageId,
    // Held as long as the bytes are in hand.
    #[expect(dead_code, reason = "gives the room back when dropped")]
    room: ByteRoom,
}

/// An image's raw bytes.
pub struct Fetched {
    pub body: Body,
    pub content_type: Option<String>,
}

/// Fetches whatever a location names.
pub struct Fetcher {
    web: Web,
    budget: ByteBudget,
    limits: Limits,
}

impl Fetcher {
    pub fn new(limits: Limits) -> anyhow::Result<Self> {
        Self::with_resolver(limits, Arc::new(System))
    }

    /// With another resolver of names than the system's; what it answers is
    /// checked all the same.
    pub fn with_resolver(limits: Limits, resolver: Arc<dyn Resolve>) -> anyhow::Result<Self> {
        Ok(Self {
            web: Web::new(limits, resolver)?,
            budget: ByteBudget::new(limits.bytes_in_flight.max(limits.bytes).max(web::BEGINNING)),
            limits,
        })
    }

    /// The raw bytes of the image that is said to be there.
    pub async fn image(&self, location: &Location) -> Result<Fetched, FetchError> {
        match location {
            Location::Url(url) => {
                let answer = self.web.get(url, Wanted::Image).await?;
                let content_type = answer.content_type();
                let body = answer.body(self.limits.bytes, &self.budget).await?;
                Ok(Fetched { body, content_type })
            }
            Location::Path(path) => {
                let body = file::read(path, self.limits.bytes, &self.budget).await?;
                Ok(Fetched {
                    body,
                    content_type: None,
                })
            }
            Location::Line { line, .. } => Err(Reason::BadSourceLine {
                line: *line,
                text: String::new(),
                problem: "it names no place".to_owned(),
            }
            .into()),
        }
    }

    pub fn web(&self) -> &Web {
        &self.web
    }

    pub fn budget(&self) -> &ByteBudget {
        &self.budget
    }
}
