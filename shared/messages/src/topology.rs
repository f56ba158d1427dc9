//! The exchange, the queues and which message goes to which.

use std::{fmt, str::FromStr};

use crate::{invalid::InvalidId, message::Message};

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

    /// The routing keys bound to the queue. Every key has exactly one queue.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::ScraperSources => &["source.requested"],
            Self::ScraperCandidates => &["candidate.found"],
            Self::ValidatorImages => &["image.fetched"],
            Self::LabelerImages => &["image.validated"],
            Self::StorerImages => &["image.labeled", "image.rejected", "image.failed"],
            Self::StorerJobs => &["source.expanded", "job.failed", "model.trained"],
            Self::TrainerRequests => &["dataset.ready", "training.requested"],
        }
    }

    /// The queue that a routing key leads to.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|queue| queue.keys().contains(&key))
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

impl Message {
    /// The routing key that the message is published with.
    pub fn key(&self) -> &'static str {
        match self {
            Self::SourceRequested(_) => "source.requested",
            Self::CandidateFound(_) => "candidate.found",
            Self::SourceExpanded(_) => "source.expanded",
            Self::ImageFetched(_) => "image.fetched",
            Self::ImageRejected(_) => "image.rejected",
            Self::ImageFailed(_) => "image.failed",
            Self::ImageValidated(_) => "image.validated",
            Self::ImageLabeled(_) => "image.labeled",
            Self::JobFailed(_) => "job.failed",
            Self::DatasetReady(_) => "dataset.ready",
            Self::TrainingRequested(_) => "training.requested",
            Self::ModelTrained(_) => "model.trained",
        }
    }
}
