//! An image: the pixels of a candidate with their label.

use bytes::Bytes;
use maskline_messages::{
    CandidateId, CandidateState, CollectionName, Fingerprint, ImageId, JobId, Label, LabelOrigin,
    Location, Measurements, Prediction,
};

/// The document of an image, with its pixels and its label.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDocument {
    pub collection: CollectionName,
    /// The job of `candidate`.
    pub job: JobId,
    pub image: ImageId,
    pub candidate: CandidateId,
    pub source: Location,
    /// The normalized image, a JPEG.
    pub binary: Bytes,
    /// The width of `binary` in pixels.
    pub width: u32,
    /// The height of `binary` in pixels.
    pub height: u32,
    pub label: Label,
    pub label_origin: LabelOrigin,
    /// The prediction of a published model, if one was asked.
    pub prediction: Option<Prediction>,
    pub measurements: Measurements,
}

/// What is remembered of an image that a person removed from a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// Whether nothing but this may be left of it.
    pub purged: bool,
}

/// Who may store an image of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The candidate that claimed it first. It stands for the image from then on, unless it is
    /// rejected or given up: then the next one that claims the image does.
    Held(CandidateId),
    /// Nobody: a person removed the image from the collection.
    Removed,
}

/// The facts about an image that freezing needs: parts of its document without the pixels, and
/// every candidate of the collection that has these bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFacts {
    pub image: ImageId,
    /// The width of the normalized image in pixels.
    pub width: u32,
    /// The height of the normalized image in pixels.
    pub height: u32,
    pub phash: u64,
    pub phash_mirrored: u64,
    /// `None` for images of earlier builds.
    pub fingerprint: Option<Fingerprint>,
    /// The candidates with these bytes: the stored one, and those that were rejected because
    /// of it. Sorted by the candidate's id.
    pub sightings: Vec<Sighting>,
}

/// Candidates of one job that turned out to be an image, and of which everything else here is
/// the same. A picture that a site shows everywhere has many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The candidate with the lowest id.
    pub candidate: CandidateId,
    pub job: JobId,
    /// The label that the source gives it.
    pub label: Option<Label>,
    pub state: CandidateState,
    /// The code of the reason, if it was rejected.
    pub reason: Option<String>,
}
