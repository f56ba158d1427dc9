//! Records as documents, and back.

use std::error::Error;

use mongodb::bson::{
    Bson, Document, deserialize_from_document, doc, serialize_to_bson, serialize_to_document,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::StorageError;

/// A record as its document. The field `id` becomes `_id`, and `None` is left out.
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

/// Fails for what BSON can't represent: a path that is not Unicode, a number over 2⁶³.
pub(super) fn bson<T: Serialize + ?Sized>(value: &T) -> Result<Bson, StorageError> {
    serialize_to_bson(value).map_err(unrecordable)
}

pub(super) fn unrecordable(error: impl Into<Box<dyn Error + Send + Sync>>) -> StorageError {
    StorageError::internal("a record can't be written as a document").caused_by(error)
}

pub(super) fn damaged(error: impl Into<Box<dyn Error + Send + Sync>>) -> StorageError {
    StorageError::internal("a document in the catalog can't be read").caused_by(error)
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
