//! What went wrong, by kind: callers decide by kind, never by message.

use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StorageError {
    /// No such object or record.
    #[error("{0} does not exist")]
    NotFound(String),
    /// Not reachable, timed out, overloaded, disk full. Worth another try.
    #[error("{0}")]
    Unavailable(String),
    /// The address, the credentials or the stored data are wrong: no retry helps.
    #[error("{0}")]
    Misconfigured(String),
    /// Anything else: a bug or damaged data.
    #[error("{0}")]
    Internal(String),
}

impl StorageError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The kind's stable name, for spans and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Unavailable(_) => "unavailable",
            Self::Misconfigured(_) => "misconfigured",
            Self::Internal(_) => "internal",
        }
    }
}
