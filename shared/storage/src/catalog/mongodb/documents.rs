//! Records as documents, and back.

use std::fmt::Display;

use maskline_messages::{
    CandidateId, ImageId, JobId, Label, LabelOrigin, Location, Measurements, Prediction,
};
use mongodb::bson::{
    Binary, Bson, Document, deserialize_from_document, doc, serialize_to_bson,
    serialize_to_document, spec::BinarySubtype,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::StorageError,
    records::{
        Candidate, CandidateState, End, Ending, ImageDocument, ImageFacts, Lease, NewCandidate,
        Work,
    },
};

/// A record as its document: its `id` is the `_id`, and what is `None` is left out.
pub(super) fn document<T: Serialize>(record: &T) -> Result<Document, StorageError> {
    let fields = serialize_to_document(record).map_err(unrecordable)?;
    let present = fields.into_iter().filter(|(_, value)| *value != Bson::Null);
    Ok(present
        .map(|(name, value)| match name.as_str() {
            "id" => ("_id".to_owned(), value),
            _ => (name, value),
        })
        .collect())
}

/// The inverse of [`document`].
pub(super) fn record<T: DeserializeOwned>(mut document: Document) -> Result<T, StorageError> {
    if let Some(id) = document.remove("_id") {
        document.insert("id", id);
    }
    deserialize_from_document(document).map_err(damaged)
}

pub(super) fn records<T: DeserializeOwned>(
    documents: Vec<Document>,
) -> Result<Vec<T>, StorageError> {
    documents.into_iter().map(record).collect()
}

/// Fails for what BSON can't say: a path that is not Unicode, a number over 2⁶³.
fn bson<T: Serialize + ?Sized>(value: &T) -> Result<Bson, StorageError> {
    serialize_to_bson(value).map_err(unrecordable)
}

fn unrecordable(error: impl Display) -> StorageError {
    StorageError::Internal(format!("can't be recorded: {error}"))
}

pub(super) fn damaged(error: impl Display) -> StorageError {
    StorageError::Internal(format!("a document in the catalog can't be read: {error}"))
}

/// An update that sets the fields that have a value and removes the others.
pub(super) fn replace_fields<const N: usize>(fields: [(&str, Option<Bson>); N]) -> Document {
    let (mut set, mut unset) = (doc! {}, doc! {});
    for (name, value) in fields {
        match value {
            Some(value) => set.insert(name, value),
            None => unset.insert(name, ""),
        };
    }
    let mut update = doc! { "$set": set };
    if !unset.is_empty() {
        update.insert("$unset", unset);
    }
    update
}

// Candidates

/// `page`: see [`super::ledger`].
pub(super) fn new_candidate(found: &NewCandidate, page: &str) -> Result<Document, StorageError> {
    let mut candidate = document(&Candidate {
        id: found.id,
        job: found.job,
        location: found.location.clone(),
        label: found.label.clone(),
        state: CandidateState::InFlight,
        image: None,
        stage: None,
        reason: None,
        error: None,
        history: vec![],
        trace_id: None,
    })?;
    candidate.insert("page", page);
    Ok(candidate)
}

/// Which candidate ends, if it is in flight.
pub(super) fn ends(ending: &Ending) -> Document {
    let in_flight = CandidateState::InFlight.as_str();
    doc! { "_id": ending.candidate.to_string(), "state": in_flight }
}

/// The update that ends a candidate. Image and trace stay where the ending names none.
pub(super) fn end(ending: &Ending) -> Result<Document, StorageError> {
    let (stage, reason, error) = match &ending.end {
        End::Stored => (None, None, None),
        End::Rejected { stage, reason } => (Some(stage), Some(bson(reason)?), None),
        End::Failed { stage, error } => (Some(stage), None, Some(error)),
    };
    let mut update = replace_fields([
        ("state", Some(ending.end.state().as_str().into())),
        ("history", Some(bson(&ending.history)?)),
        ("stage", stage.map(Bson::from)),
        ("reason", reason),
        ("error", error.map(Bson::from)),
    ]);
    let set = update.get_document_mut("$set").map_err(unrecordable)?;
    if let Some(image) = &ending.image {
        set.insert("image", image.to_string());
    }
    if let Some(trace) = &ending.trace_id {
        set.insert("trace_id", trace);
    }
    Ok(update)
}

// Images

/// The `_id` of a job's image, and of its claim.
pub(super) fn image_key(job: JobId, image: &ImageId) -> String {
    format!("{job}/{image}")
}

/// The `_id`s of a job's images, those after `after` only.
pub(super) fn image_keys(job: JobId, after: Option<&ImageId>) -> Document {
    let from = match after {
        Some(image) => image_key(job, image),
        None => format!("{job}/"),
    };
    // `0` comes next after `/` in ASCII.
    doc! { "$gt": from, "$lt": format!("{job}0") }
}

/// An image's document without `_id` and pixels.
#[derive(Serialize, Deserialize)]
pub(super) struct Described {
    job: JobId,
    pub image: ImageId,
    pub candidate: CandidateId,
    source: Location,
    /// Of the pixels in the document.
    width: u32,
    height: u32,
    pub label: Label,
    how: LabelOrigin,
    opinion: Option<Prediction>,
    measurements: Measurements,
}

impl Described {
    /// `conflicting`: sorted, see [`ImageFacts`].
    pub fn facts(self, conflicting: Vec<Label>) -> ImageFacts {
        ImageFacts {
            image: self.image,
            label: self.label,
            conflicting,
            width: self.width,
            height: self.height,
            phash: self.measurements.phash,
            phash_mirrored: self.measurements.phash_mirrored,
        }
    }
}

pub(super) fn image_document(image: &ImageDocument) -> Result<Document, StorageError> {
    let described = document(&Described {
        job: image.job,
        image: image.image,
        candidate: image.candidate,
        source: image.source.clone(),
        width: image.width,
        height: image.height,
        label: image.label.clone(),
        how: image.how,
        opinion: image.opinion.clone(),
        measurements: image.measurements.clone(),
    })?;
    let mut document = doc! { "_id": image_key(image.job, &image.image) };
    document.extend(described);
    // Last, so that what reads the other fields comes to them first.
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
pub(super) fn image(mut document: Document) -> Result<ImageDocument, StorageError> {
    let Some(Bson::Binary(binary)) = document.remove("binary") else {
        return Err(damaged("an image without pixels"));
    };
    let described: Described = record(document)?;
    Ok(ImageDocument {
        job: described.job,
        image: described.image,
        candidate: described.candidate,
        source: described.source,
        binary: binary.bytes.into(),
        width: described.width,
        height: described.height,
        label: described.label,
        how: described.how,
        opinion: described.opinion,
        measurements: described.measurements,
    })
}

// Leases

pub(super) fn work_key(work: &Work) -> String {
    format!("{}/{}", work.kind(), work.id())
}

/// Work that nobody has held yet, without its `_id`.
pub(super) fn free_work(work: &Work) -> Document {
    doc! {
        "kind": work.kind(),
        "id": work.id(),
        "owner": Bson::Null,
        "beat": 0_i64,
        "failures": 0_i64,
        "done": false,
    }
}

/// The lease as it was seen, if nothing has changed since.
pub(super) fn as_seen(lease: &Lease) -> Result<Document, StorageError> {
    Ok(doc! {
        "_id": work_key(&lease.work),
        "owner": lease.owner.as_deref(),
        "beat": bson(&lease.beat)?,
        "done": false,
    })
}

/// What the lease is from now on.
pub(super) fn exchanged(now: &Lease) -> Result<Document, StorageError> {
    Ok(doc! { "$set": {
        "owner": now.owner.as_deref(),
        "beat": bson(&now.beat)?,
        "failures": i64::from(now.failures),
    } })
}

pub(super) fn lease(document: Document) -> Result<Lease, StorageError> {
    #[derive(Deserialize)]
    struct Stored {
        kind: String,
        id: String,
        owner: Option<String>,
        beat: u64,
        failures: u32,
    }
    let stored: Stored = deserialize_from_document(document).map_err(damaged)?;
    Ok(Lease {
        work: Work::named(&stored.kind, &stored.id).map_err(damaged)?,
        owner: stored.owner,
        beat: stored.beat,
        failures: stored.failures,
    })
}
