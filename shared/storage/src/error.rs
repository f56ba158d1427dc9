//! What went wrong, by kind: callers decide by kind, never by message.

use thiserror::Error;

#[derive(Debug, Error)]
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
}
