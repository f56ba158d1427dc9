//! The names that a broker knows: the exchange, the queues and the headers.

use std::{fmt, str::FromStr};

use crate::invalid::InvalidId;

/// The topic exchange that every message is published to.
pub const EXCHANGE: &str = "maskline";

/// The queue where messages end that no retry will help.
pub const DEAD_LETTERS: &str = "maskline.dead-letters";

/// Header names beside W3C's `traceparent` and `tracestate`.
pub mod headers {
    pub const TRACEPARENT: &str = "traceparent";
    pub const TRACESTATE: &str = "tracestate";
    /// A UUIDv7 drawn for each message sent, and so when that was; the same on every
    /// delivery of it. For traces and metrics only: whether two messages say the
    /// same is told by what they carry.
    pub const MESSAGE_ID: &str = "maskline-message-id";
    /// How often the message was tried before this delivery; absent on the first.
    pub const ATTEMPTS: &str = "maskline-attempts";
    /// On dead letters: the queue it came from.
    pub const ORIGINAL_QUEUE: &str = "maskline-original-queue";
    /// On dead letters: the routing key it was published with.
    pub const ORIGINAL_KEY: &str = "maskline-original-key";
    /// On dead letters: the last error, with its causes.
    pub const ERROR: &str = "maskline-error";
    /// On dead letters: `retries_exhausted` or `poison`.
    pub const KIND: &str = "maskline-error-kind";
    /// On dead letters: the service that gave up.
    pub const STAGE: &str = "maskline-stage";
    /// On dead letters: milliseconds since the Unix epoch.
    pub const DEAD_AT: &str = "maskline-dead-at";
}

/// Every queue of the pipeline. All replicas of a service share its queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    ScraperSources,
    ScraperCandidates,
    ValidatorImages,
    LabelerImages,
    StorerImages,
    StorerJobs,
    TrainerRequests,
}

impl Queue {
    pub const ALL: [Self; 7] = [
        Self::ScraperSources,
        Self::ScraperCandidates,
        Self::ValidatorImages,
        Self::LabelerImages,
        Self::StorerImages,
        Self::StorerJobs,
        Self::TrainerRequests,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::ScraperSources => "scraper.sources",
            Self::ScraperCandidates => "scraper.candidates",
            Self::ValidatorImages => "validator.images",
            Self::LabelerImages => "labeler.images",
            Self::StorerImages => "storer.images",
            Self::StorerJobs => "storer.jobs",
            Self::TrainerRequests => "trainer.requests",
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Queue {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let found = Self::ALL.into_iter().find(|queue| queue.name() == text);
        found.ok_or_else(|| InvalidId {
            text: text.chars().take(80).collect(),
            expected: "a queue's name",
        })
    }
}
