//! How a fetch fails.

use std::time::Duration;

use maskline_messages::Reason;
use maskline_runtime::Failure;
use maskline_storage::StorageError;
use thiserror::Error;

/// Why there are no bytes.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// There is nothing to fetch, now or later.
    #[error("{0}")]
    Rejected(Reason),
    /// The fetch may succeed later.
    #[error("{error:#}")]
    Retry {
        error: anyhow::Error,
        /// The pause that the server asked for (`Retry-After`), with a bound.
        after: Option<Duration>,
    },
    /// It is not the turn of this fetch. That is no attempt.
    #[error("{why}")]
    Postponed { why: String, after: Duration },
    /// The catalog, where the turns are, can't be asked.
    #[error("{0:#}")]
    Store(StorageError),
}

impl FetchError {
    pub(crate) fn retry(error: impl Into<anyhow::Error>) -> Self {
        Self::Retry {
            error: error.into(),
            after: None,
        }
    }

    /// The rejection of what has `bytes`, or at least so many, and may have `most`.
    pub(super) fn too_many_bytes(bytes: u64, most: u64) -> Self {
        Reason::TooManyBytes { bytes, most }.into()
    }

    /// The reason for rejecting the image, or else the failure that makes the runner try
    /// the message again.
    pub(crate) fn into_reason(self) -> Result<Reason, Failure> {
        match self {
            Self::Rejected(reason) => Ok(reason),
            Self::Retry { error, after } => Err(Failure::Retry { error, after }),
            Self::Postponed { why, after } => Err(Failure::Postponed {
                error: anyhow::Error::msg(why),
                after,
            }),
            Self::Store(error) => Err(error.into()),
        }
    }
}

impl From<Reason> for FetchError {
    fn from(reason: Reason) -> Self {
        Self::Rejected(reason)
    }
}
