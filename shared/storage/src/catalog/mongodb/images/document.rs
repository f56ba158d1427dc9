//! The document of an image.

use maskline_messages::{
    CandidateId, CollectionName, ImageId, JobId, Label, LabelOrigin, Location, Measurements,
    Prediction,
};
use mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use serde::{Deserialize, Serialize};

use super::super::documents::{damaged, document, record};
use crate::{
    error::StorageError,
    records::{ImageDocument, ImageFacts, Sighting},
};

/// The `_id` of a collection's image, and of its claim.
pub fn image_key(collection: &CollectionName, image: &ImageId) -> String {
    format!("{collection}/{image}")
}

/// A condition on the `_id`s of a collection's images: those after `after`.
pub fn image_keys(collection: &CollectionName, after: Option<&ImageId>) -> Document {
    let from = match after {
        Some(image) => image_key(collection, image),
        None => format!("{collection}/"),
    };
    // `0` comes next after `/` in ASCII.
    doc! { "$gt": from, "$lt": format!("{collection}0") }
}

/// An image's document without `_id` and pixels.
#[derive(Serialize, Deserialize)]
pub struct Described {
    collection: CollectionName,
    job: JobId,
    pub image: ImageId,
    pub candidate: CandidateId,
    source: Location,
    /// The size of the pixels in the document.
    width: u32,
    height: u32,
    pub label: Label,
    label_origin: LabelOrigin,
    prediction: Option<Prediction>,
    measurements: Measurements,
}

impl Described {
    pub fn facts(self, sightings: Vec<Sighting>) -> ImageFacts {
        ImageFacts {
            image: self.image,
            width: self.width,
            height: self.height,
            phash: self.measurements.phash,
            phash_mirrored: self.measurements.phash_mirrored,
            fingerprint: self.measurements.fingerprint,
            sightings,
        }
    }
}

pub fn image_document(image: &ImageDocument) -> Result<Document, StorageError> {
    let described = document(&Described {
        collection: image.collection.clone(),
        job: image.job,
        image: image.image,
        candidate: image.candidate,
        source: image.source.clone(),
        width: image.width,
        height: image.height,
        label: image.label.clone(),
        label_origin: image.label_origin,
        prediction: image.prediction.clone(),
        measurements: image.measurements.clone(),
    })?;
    let mut document = doc! { "_id": image_key(&image.collection, &image.image) };
    document.extend(described);
    // The pixels come last, so that a reader of the other fields comes to those first.
    document.insert(
        "binary",
        Binary {
            subtype: BinarySubtype::Generic,
            bytes: image.binary.to_vec(),
        },
    );
    Ok(document)
}

/// The inverse of [`image_document`].
pub fn image_of(mut document: Document) -> Result<ImageDocument, StorageError> {
    let Some(Bson::Binary(binary)) = document.remove("binary") else {
        return Err(damaged("an image without pixels"));
    };
    let described: Described = record(document)?;
    Ok(ImageDocument {
        collection: described.collection,
        job: described.job,
        image: described.image,
        candidate: described.candidate,
        source: described.source,
        binary: binary.bytes.into(),
        width: described.width,
        height: described.height,
        label: described.label,
        label_origin: described.label_origin,
        prediction: described.prediction,
        measurements: described.measurements,
    })
}
