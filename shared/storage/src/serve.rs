//! Turns a store's errors into failures of a message.

use maskline_foundation::Failure;

use crate::error::{StorageError, StorageErrorKind};

/// The runner waits for a store that is away, or that refuses everybody until a person
/// repairs its configuration: no message is to blame. Other errors are for a person to
/// look at, so the message becomes a dead letter.
impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error.kind() {
            StorageErrorKind::Unavailable | StorageErrorKind::Misconfigured => Self::outage(error),
            StorageErrorKind::NotFound | StorageErrorKind::Internal => Self::poison(error),
        }
    }
}

impl StorageError {
    /// The failure for an object that a message names. The object was durable before the
    /// message was sent. So a store that does not have it lags behind, and the message is
    /// tried again.
    pub fn behind(self) -> Failure {
        match self.kind() {
            StorageErrorKind::NotFound => Failure::retry(self),
            _ => self.into(),
        }
    }
}
