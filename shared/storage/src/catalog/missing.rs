//! The errors for records that are not there, the same from every catalog.

use maskline_messages::{CandidateId, ImageId, JobId, RunId};

use crate::error::StorageError;

pub(super) fn job(id: JobId) -> StorageError {
    StorageError::not_found(format!("job {id}"))
}

pub(super) fn candidate(id: CandidateId) -> StorageError {
    StorageError::not_found(format!("candidate {id}"))
}

pub(super) fn image(job: JobId, image: &ImageId) -> StorageError {
    StorageError::not_found(format!("image {image} of job {job}"))
}

pub(super) fn run(id: RunId) -> StorageError {
    StorageError::not_found(format!("run {id}"))
}
