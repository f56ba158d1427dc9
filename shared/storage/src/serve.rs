//! What stages need of a store: its errors as failures of a message.

use maskline_foundation::Failure;

use crate::StorageError;

/// A store that is away, or that refuses everybody until a person mends it, is
/// waited for: no message is to blame. The others are for a person to look at.
impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unavailable(_) | StorageError::Misconfigured(_) => Self::outage(error),
            StorageError::NotFound(_) | StorageError::Internal(_) => Self::poison(error),
        }
    }
}

impl StorageError {
    /// For an object that a message names: it was durable before the message was
    /// sent, so a store that does not show it is behind, and is asked again.
    pub fn behind(self) -> Failure {
        match self {
            Self::NotFound(_) => Failure::retry(self),
            other => other.into(),
        }
    }
}
