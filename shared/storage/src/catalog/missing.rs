//! The errors for records that are not there, the same from every catalog.

use maskline_messages::{CandidateId, CollectionName, ImageId, JobId, RunId, StudyId};

use crate::error::StorageError;

pub(super) fn collection(name: &CollectionName) -> StorageError {
    StorageError::not_found(format!("collection {name}"))
}

pub(super) fn job(id: JobId) -> StorageError {
    StorageError::not_found(format!("job {id}"))
}

pub(super) fn candidate(id: CandidateId) -> StorageError {
    StorageError::not_found(format!("candidate {id}"))
}

pub(super) fn image(collection: &CollectionName, image: &ImageId) -> StorageError {
    StorageError::not_found(format!("image {image} of collection {collection}"))
}

pub(super) fn study(id: StudyId) -> StorageError {
    StorageError::not_found(format!("study {id}"))
}

pub(super) fn run(id: RunId) -> StorageError {
    StorageError::not_found(format!("run {id}"))
}
