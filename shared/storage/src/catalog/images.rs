//! The images that a job's candidates turned out to be.

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::{CandidateId, ImageId, JobId, Location};

use crate::{
    error::StorageError,
    records::{ImageDocument, ImageFacts},
};

/// The images of all jobs.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// Claims an image of a job for a candidate, and returns the candidate that has it:
    /// the one that claimed it first. Every later call returns the same candidate.
    async fn claim_image(
        &self,
        job: JobId,
        image: &ImageId,
        candidate: CandidateId,
    ) -> Result<CandidateId, StorageError>;

    /// Writes the document of an image, over one of the same job and bytes. The caller
    /// writes it before it finishes the candidate as stored.
    async fn put_image(&self, image: &ImageDocument) -> Result<(), StorageError>;

    async fn image(
        &self,
        job: JobId,
        image: &ImageId,
    ) -> Result<Option<ImageDocument>, StorageError>;

    /// Lists facts about at most `limit` of the job's images whose candidates are stored,
    /// sorted by image id, beginning after the id `after`.
    async fn image_facts(
        &self,
        job: JobId,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<ImageFacts>, StorageError>;

    /// Reads the pixels ([`ImageDocument::binary`]) of some of a job's images, in the
    /// order of `images`. Fails with [`NotFound`](crate::StorageErrorKind::NotFound) if one
    /// is missing.
    async fn image_bytes(&self, job: JobId, images: &[ImageId])
    -> Result<Vec<Bytes>, StorageError>;

    /// Reads the locations ([`ImageDocument::source`]) of some of a job's images, in the
    /// order of `images`. Fails with [`NotFound`](crate::StorageErrorKind::NotFound) if one
    /// is missing.
    async fn image_sources(
        &self,
        job: JobId,
        images: &[ImageId],
    ) -> Result<Vec<Location>, StorageError>;
}
