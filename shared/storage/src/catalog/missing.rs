//! The errors for records that are not there, the same from every catalog.

use maskline_messages::{CandidateId, ImageId, JobId, RunId};

use crate::error::StorageError;

pub(super) fn job(id: JobId) -> StorageError {
    StorageError::NotFound(format!("job {id}"))
}

pub(super) fn candidate(id: CandidateId) -> StorageError {
    StorageError::NotFound(format!("candidate {id}"))
}

pub(super) fn image(job: JobId, image: &ImageId) -> StorageError {
    StorageError::NotFound(format!("image {image} of job {job}"))
}

pub(super) fn run(id: RunId) -> StorageError {
    StorageError::NotFound(format!("run {id}"))
}
