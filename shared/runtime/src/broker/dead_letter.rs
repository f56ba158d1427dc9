//! Messages that were given up, and why.

use serde::{Deserialize, Serialize};

use super::envelope::Envelope;

/// Why a message is dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterReason {
    pub kind: DeadLetterKind,
    /// The service that gave the message up.
    pub stage: String,
    /// The error with its causes.
    pub error: String,
}

/// The two ways in which a message is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterKind {
    /// Something that the message needs was not ready, too often.
    RetriesExhausted,
    /// This program can't handle the message.
    Poison,
}

impl DeadLetterKind {
    /// The name in metrics, spans and headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "retries_exhausted",
            Self::Poison => "poison",
        }
    }
}

/// Names a dead letter for as long as it is one. Mostly it is a UUID that the message was
/// given when it was dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeadLetterId(pub String);

/// A message that was given up, with everything known about why.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: DeadLetterId,
    /// The queue that it was taken from, and that a replay sends it back to.
    pub queue: String,
    pub envelope: Envelope,
    pub kind: DeadLetterKind,
    /// The service that gave it up. Empty if the broker itself did.
    pub stage: String,
    /// The error with its causes.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}
