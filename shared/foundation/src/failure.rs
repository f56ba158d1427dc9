//! Why a stage could not handle a message.

use std::time::Duration;

use thiserror::Error;

/// Why a message could not be handled, by what the runner does about it. A rejected
/// image is no failure: it is one of the outcomes of a message that was handled.
#[derive(Debug, Error)]
pub enum Failure {
    /// Something that only this message needs (the site that it names) is not ready.
    /// The message is tried again later, a bounded number of times.
    #[error("{error:#}")]
    Retry {
        error: anyhow::Error,
        /// The least time to wait, where the server asked for one (Retry-After).
        after: Option<Duration>,
    },
    /// It is not this message's turn yet, because of a quota or a pause that a server asked
    /// for. The message comes again after the wait. That is no attempt, so it may happen any
    /// number of times.
    #[error("{error:#}")]
    Postponed {
        /// What the message waits for.
        error: anyhow::Error,
        after: Duration,
    },
    /// Something that every message needs (a store) is away or refuses everybody. The
    /// runner waits for it and does not count the message's attempts.
    #[error("{0:#}")]
    Outage(anyhow::Error),
    /// This program can't handle the message, which goes to the dead letters.
    #[error("{0:#}")]
    Poison(anyhow::Error),
}

impl Failure {
    /// A [`Failure::Retry`] with no wait that a server asked for.
    pub fn retry(error: impl Into<anyhow::Error>) -> Self {
        Self::Retry {
            error: error.into(),
            after: None,
        }
    }

    /// A [`Failure::Outage`].
    pub fn outage(error: impl Into<anyhow::Error>) -> Self {
        Self::Outage(error.into())
    }

    /// A [`Failure::Poison`].
    pub fn poison(error: impl Into<anyhow::Error>) -> Self {
        Self::Poison(error.into())
    }
}
