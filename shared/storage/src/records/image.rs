//! An image: the pixels of a candidate with their label.

use bytes::Bytes;
use maskline_messages::{
    CandidateId, ImageId, JobId, Label, LabelOrigin, Location, Measurements, Prediction,
};

/// The document of an image, with its pixels and its label.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDocument {
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

/// The facts about an image that freezing needs: parts of its document without the pixels, and
/// every label that the job's candidates with these bytes were given, rejected duplicates
/// included.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFacts {
    pub image: ImageId,
    pub label: Label,
    /// The labels of duplicates that differ from `label`, sorted.
    pub conflicting: Vec<Label>,
    /// The width of the normalized image in pixels.
    pub width: u32,
    /// The height of the normalized image in pixels.
    pub height: u32,
    pub phash: u64,
    pub phash_mirrored: u64,
}
