//! The names that a broker knows: the exchange, the queues and the headers.

use strum::{Display, EnumString, IntoStaticStr, VariantArray, VariantNames};

use crate::invalid::UnknownName;

/// The topic exchange that every message is published to.
pub const EXCHANGE: &str = "maskline";

/// The queue of the messages that were given up.
pub const DEAD_LETTERS: &str = "maskline.dead-letters";

/// The names of the headers that a message has beside its body.
pub mod headers {
    /// The W3C trace context of the span that sent the message.
    pub const TRACEPARENT: &str = "traceparent";
    /// The vendors' part of the W3C trace context.
    pub const TRACESTATE: &str = "tracestate";
    /// A UUIDv7 that is drawn when a message is sent, and so contains that time. Every
    /// delivery of the message has the same one. Only traces and metrics use it: two
    /// messages with different ids can still have the same content.
    pub const MESSAGE_ID: &str = "maskline-message-id";
    /// How often the message was tried before this delivery. The first delivery does not
    /// have this header.
    pub const ATTEMPTS: &str = "maskline-attempts";
    /// When a delayed message is due, in milliseconds since the Unix epoch.
    pub const DUE: &str = "maskline-due";
    /// How many milliseconds a delayed message waits on after it is due, because no delay queue
    /// takes its whole wait.
    pub const LEFT: &str = "maskline-wait-left";
    /// The queue from which the message was taken that became a dead letter.
    pub const ORIGINAL_QUEUE: &str = "maskline-original-queue";
    /// The routing key that a dead letter was first published with.
    pub const ORIGINAL_KEY: &str = "maskline-original-key";
    /// A dead letter's last error, with its causes.
    pub const ERROR: &str = "maskline-error";
    /// Why a dead letter was given up: `retries_exhausted` or `poison`.
    pub const KIND: &str = "maskline-error-kind";
    /// The service that gave a dead letter up.
    pub const STAGE: &str = "maskline-stage";
    /// When a dead letter was given up, in milliseconds since the Unix epoch.
    pub const DEAD_AT: &str = "maskline-dead-at";
}

/// A queue of the pipeline. All replicas of a service share its queues.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[strum(parse_err_ty = UnknownName, parse_err_fn = unknown_queue)]
pub enum Queue {
    #[strum(serialize = "scraper.sources")]
    ScraperSources,
    #[strum(serialize = "scraper.candidates")]
    ScraperCandidates,
    #[strum(serialize = "validator.images")]
    ValidatorImages,
    #[strum(serialize = "labeler.images")]
    LabelerImages,
    #[strum(serialize = "storer.images")]
    StorerImages,
    #[strum(serialize = "storer.jobs")]
    StorerJobs,
    #[strum(serialize = "trainer.requests")]
    TrainerRequests,
}

fn unknown_queue(text: &str) -> UnknownName {
    UnknownName::new::<Queue>(text, "a queue")
}

impl Queue {
    pub const ALL: [Self; <Self as VariantArray>::VARIANTS.len()] =
        *<Self as VariantArray>::VARIANTS
            .first_chunk()
            .expect("the length is the same");

    /// The queue's name at the broker.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
