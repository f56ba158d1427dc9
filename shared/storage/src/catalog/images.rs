//! The images that a collection's candidates turned out to be.

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::{CandidateId, CollectionName, ImageId, Measurements};

use crate::{
    error::StorageError,
    records::{Candidate, Claim, ImageDocument, ImageFacts, Sighting},
};

/// The images of all collections.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// Claims an image of a collection for a candidate, and returns who has it: the candidate
    /// that claimed it first. Every later call returns the same, until the image is removed, or
    /// its candidate is rejected or given up: then it belongs to the next one that claims it.
    async fn claim_image(
        &self,
        collection: &CollectionName,
        image: &ImageId,
        candidate: CandidateId,
    ) -> Result<Claim, StorageError>;

    /// Writes the document of an image, over one of the same collection and bytes. The caller
    /// writes it before it finishes the candidate as stored. Returns who has the image: unless
    /// that is the document's candidate, there is no document by this call.
    async fn put_image(&self, image: &ImageDocument) -> Result<Claim, StorageError>;

    async fn image(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<Option<ImageDocument>, StorageError>;

    /// Lists facts about at most `limit` of the collection's images, without those that were
    /// removed and those whose candidates are not stored, sorted by image id, beginning after the
    /// id `after`. An image whose candidate was removed with its source is among them, because
    /// another source may have it.
    async fn image_facts(
        &self,
        collection: &CollectionName,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<ImageFacts>, StorageError>;

    /// Lists the candidates of the collection that turned out to be these images, in the order of
    /// `images`.
    async fn sightings(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Vec<Sighting>>, StorageError>;

    /// Reads the pixels ([`ImageDocument::binary`]) of some of a collection's images, in the
    /// order of `images`. Fails with [`NotFound`](crate::StorageErrorKind::NotFound) if one
    /// is missing.
    async fn image_bytes(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Bytes>, StorageError>;

    /// Reads the measurements of some of a collection's images, in the order of `images`.
    /// Fails with [`NotFound`](crate::StorageErrorKind::NotFound) if an image is missing.
    async fn image_measurements(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Measurements>, StorageError>;

    /// Reads the candidates that stand for some of a collection's images, in the order of
    /// `images`. Fails with [`NotFound`](crate::StorageErrorKind::NotFound) if one is missing.
    async fn image_candidates(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Candidate>, StorageError>;
}
