//! The messages about one image, from the candidate to its label.

use maskline_foundation::time::unix_millis;
use serde::{Deserialize, Serialize};

use crate::{
    collection::CollectionName,
    ids::{CandidateId, ImageId, JobId, RunId},
    label::{Label, LabelOrigin},
    location::Location,
    measurements::Measurements,
    object_key::ObjectKey,
    reason::Reason,
};

/// A service that an image has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The service, such as `validator`.
    pub stage: String,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}

impl Hop {
    /// The image is at `stage` now.
    pub fn now(stage: &str) -> Self {
        Self {
            stage: stage.to_owned(),
            at: unix_millis(),
        }
    }
}

/// How an image was fetched, so that it need not be fetched again while it stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// The `ETag` of the answer, as the server wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The `Last-Modified` of the answer, as the server wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

impl Fetched {
    /// Says whether the server can be asked if the image has changed since.
    pub fn has_validator(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }
}

/// The fields that every message about a fetched image has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageHeader {
    pub collection: CollectionName,
    pub job: JobId,
    pub candidate: CandidateId,
    pub image: ImageId,
    /// `None` where it is not known.
    #[serde(default)]
    pub fetched: Option<Fetched>,
    /// The services that the image has passed, the first one first.
    #[serde(default)]
    pub history: Vec<Hop>,
}

impl ImageHeader {
    /// Adds a hop to the history: the image is at `stage` now.
    pub fn arrived_at(&mut self, stage: &str) {
        self.history.push(Hop::now(stage));
    }

    /// The message that `stage` rejects the image, for this reason.
    pub fn reject(self, stage: &str, reason: Reason) -> ImageRejected {
        ImageRejected {
            job: self.job,
            candidate: self.candidate,
            image: Some(self.image),
            fetched: self.fetched,
            stage: stage.to_owned(),
            reason,
            history: self.history,
        }
    }
}

/// An image that an earlier job of the same collection fetched from the same location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownImage {
    /// The candidate of that job.
    pub candidate: CandidateId,
    pub image: ImageId,
    pub fetched: Fetched,
}

/// The scraper found a candidate. It sends this to its own queue, so that it, or another
/// replica, fetches the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateFound {
    pub collection: CollectionName,
    pub job: JobId,
    pub candidate: CandidateId,
    pub location: Location,
    /// The label that the source gives.
    pub label: Option<Label>,
    /// What was found at this location before. It is fetched only if it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownImage>,
}

impl CandidateFound {
    /// The message that `stage` rejects the candidate, for this reason, without having
    /// fetched it.
    pub fn reject(self, stage: &str, reason: Reason) -> ImageRejected {
        ImageRejected {
            job: self.job,
            candidate: self.candidate,
            image: None,
            fetched: None,
            stage: stage.to_owned(),
            reason,
            history: vec![Hop::now(stage)],
        }
    }
}

/// The scraper reports to the validator that an image's raw bytes are in the object store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageFetched {
    pub header: ImageHeader,
    pub location: Location,
    /// The label that the source gives. The labeler decides whether it is used.
    pub label: Option<Label>,
    /// The object that holds the raw bytes.
    pub object: ObjectKey,
    /// The number of raw bytes.
    pub bytes: u64,
}

/// The validator reports to the labeler that an image is sound and normalized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageValidated {
    pub header: ImageHeader,
    pub location: Location,
    /// The label that the source gives. The labeler decides whether it is used.
    pub label: Option<Label>,
    /// The object that holds the normalized image: RGB, of bounded size, without
    /// metadata, as a JPEG.
    pub normalized: ObjectKey,
    /// The normalized image's width in pixels.
    pub width: u32,
    /// The normalized image's height in pixels.
    pub height: u32,
    pub measurements: Measurements,
}

/// The prediction of a published model for an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub model: RunId,
    /// The most probable class.
    pub label: Label,
    /// Softmax probability of `label`, 0 to 1.
    pub confidence: f32,
    /// True if `label` is the label that the image has.
    pub agrees: bool,
}

/// The labeler reports an image's label to the storer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageLabeled {
    pub header: ImageHeader,
    pub location: Location,
    /// The object that holds the normalized image: RGB, of bounded size, without
    /// metadata, as a JPEG.
    pub normalized: ObjectKey,
    /// The normalized image's width in pixels.
    pub width: u32,
    /// The normalized image's height in pixels.
    pub height: u32,
    pub measurements: Measurements,
    pub label: Label,
    pub label_origin: LabelOrigin,
    /// `None` means that there is no published model, or that it could not be asked.
    pub prediction: Option<Prediction>,
}

/// A service reports to the storer that an image is unfit, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRejected {
    pub job: JobId,
    pub candidate: CandidateId,
    /// `None` means that the candidate was rejected before it was fetched.
    pub image: Option<ImageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Fetched>,
    /// The service that rejected it.
    pub stage: String,
    pub reason: Reason,
    /// The services that the image has passed, the first one first.
    #[serde(default)]
    pub history: Vec<Hop>,
}

/// The runner reports to the storer that a message about this candidate becomes a dead
/// letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageFailed {
    pub job: JobId,
    pub candidate: CandidateId,
    /// The service that gave up.
    pub stage: String,
    pub error: String,
    /// How often the message was tried.
    pub attempts: u32,
}
