//! How a fetch ends when it does not end well.

use std::time::Duration;

use maskline_messages::Reason;
use maskline_runtime::Failure;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum FetchError {
    /// There is nothing to be had, now or later.
    #[error("{0}")]
    Rejected(Reason),
    /// Not now.
    #[error("{error:#}")]
    Retry {
        error: anyhow::Error,
        /// What the server asked for (Retry-After), bounded.
        after: Option<Duration>,
    },
}

impl FetchError {
    pub fn retry(error: impl Into<anyhow::Error>) -> Self {
        Self::Retry {
            error: error.into(),
            after: None,
        }
    }

    /// The reason, or the failure that makes the runner try again.
    pub fn into_reason(self) -> Result<Reason, Failure> {
        match self {
            Self::Rejected(reason) => Ok(reason),
            Self::Retry { error, after } => Err(Failure::Retry { error, after }),
        }
    }
}

impl From<Reason> for FetchError {
    fn from(reason: Reason) -> Self {
        Self::Rejected(reason)
    }
}
