//! How a step of an expansion fails.

use std::time::Duration;

use maskline_storage::StorageError;
use thiserror::Error;

use crate::fetch::FetchError;

/// Why a step found nothing.
#[derive(Debug, Error)]
pub enum ExpandError {
    /// The source can never be expanded. The text says what to do about it.
    #[error("{0}")]
    Source(String),
    /// The step can't be taken until the operator has changed something. Then the source can
    /// be expanded from there on. The text says what to change.
    #[error("{0}")]
    Blocked(String),
    /// It is not this step's turn yet, which is no failure.
    #[error("{error:#}")]
    Postponed {
        /// What the step waits for.
        error: anyhow::Error,
        after: Duration,
    },
    /// The catalog can't be asked.
    #[error("{0:#}")]
    Store(StorageError),
    /// The step may succeed later.
    #[error("{error:#}")]
    Retry {
        /// What went wrong.
        error: anyhow::Error,
        /// How long the server asked to be left alone.
        after: Option<Duration>,
    },
}

impl ExpandError {
    pub(super) fn retry(error: impl Into<anyhow::Error>) -> Self {
        Self::Retry {
            error: error.into(),
            after: None,
        }
    }

    /// `what` names the page or list that could not be fetched.
    pub(super) fn fetching(what: &str, error: FetchError) -> Self {
        match error {
            FetchError::Rejected(reason) => Self::Source(format!(
                "{what} can't be fetched: {reason}. Check the address and enqueue it again"
            )),
            FetchError::Retry { error, after } => Self::Retry {
                error: error.context(format!("fetching {what}")),
                after,
            },
            FetchError::Postponed { why, after } => Self::Postponed {
                error: anyhow::Error::msg(why).context(format!("fetching {what}")),
                after,
            },
            FetchError::Store(error) => Self::Store(error),
        }
    }
}
