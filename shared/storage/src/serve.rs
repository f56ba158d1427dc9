//! What stages need of a store: its errors as failures of a message.

use maskline_runtime::Failure;

use crate::StorageError;

/// Transient errors are tried again; the others are for a person to look at.
impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        if error.is_transient() {
            Self::retry(error)
        } else {
            Self::poison(error)
        }
    }
}
