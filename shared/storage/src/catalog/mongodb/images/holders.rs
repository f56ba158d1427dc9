//! The candidates that stand for images, and which of them count.

use std::collections::{BTreeSet, HashMap};

use maskline_messages::{CandidateId, CollectionName, ImageId, Reason};
use mongodb::bson::doc;

use super::{
    super::{
        database::{BATCH, Database, Query},
        documents::damaged,
        schema::{CANDIDATES, CLAIMS, IMAGES},
    },
    document::image_key,
};
use crate::{error::StorageError, records::CandidateState};

/// Says whether a candidate was rejected or given up.
pub async fn has_ended_without(
    database: &Database,
    candidate: CandidateId,
) -> Result<bool, StorageError> {
    let ended = [CandidateState::Rejected, CandidateState::Failed].map(CandidateState::as_str);
    let filter = doc! { "_id": candidate.to_string(), "state": { "$in": ended.to_vec() } };
    Ok(database.find_one(CANDIDATES, filter).await?.is_some())
}

/// The candidates that stand for images, by image.
pub async fn holders_of(
    database: &Database,
    collection: &CollectionName,
    images: &[ImageId],
) -> Result<HashMap<String, String>, StorageError> {
    let keys: Vec<_> = images
        .iter()
        .map(|image| image_key(collection, image))
        .collect();
    let of_images = doc! { "_id": { "$in": keys } };
    let query = Query::sorted(doc! {}).only(doc! { "image": 1, "candidate": 1 });
    let found = database.find(IMAGES, of_images, query).await?;
    let holders = found.iter().map(|image| {
        let text = |name| image.get_str(name).map(str::to_owned).map_err(damaged);
        Ok((text("image")?, text("candidate")?))
    });
    holders.collect()
}

/// Selects those of the images of which the collection has a document that counts: see
/// [`stored_among`].
pub async fn kept_among(
    database: &Database,
    collection: &CollectionName,
    images: &[ImageId],
) -> Result<BTreeSet<ImageId>, StorageError> {
    let mut kept = BTreeSet::new();
    for batch in images.chunks(BATCH) {
        let holders = holders_of(database, collection, batch).await?;
        let stored = stored_among(database, holders.values().cloned().collect()).await?;
        let stored: BTreeSet<String> = stored.iter().map(ToString::to_string).collect();
        kept.extend(batch.iter().filter(|image| {
            let holder = holders.get(&image.to_string());
            holder.is_some_and(|holder| stored.contains(holder))
        }));
    }
    Ok(kept)
}

/// Selects those of the candidates that are stored, or were removed with their source: another
/// source may have the image.
pub async fn stored_among(
    database: &Database,
    candidates: Vec<String>,
) -> Result<BTreeSet<CandidateId>, StorageError> {
    let filter = doc! {
        "_id": { "$in": candidates },
        "$or": [
            { "state": CandidateState::Stored.as_str() },
            { "reason.code": Reason::Removed.code() },
        ],
    };
    let query = Query::sorted(doc! {}).only(doc! { "_id": 1 });
    let found = database.find(CANDIDATES, filter, query).await?;
    let ids = found.iter().map(|candidate| {
        let id = candidate.get_str("_id").map_err(damaged)?;
        id.parse().map_err(damaged)
    });
    ids.collect()
}

/// Selects those of the collection's images from `first` to `last` that were removed.
pub async fn removed_between(
    database: &Database,
    collection: &CollectionName,
    first: &ImageId,
    last: &ImageId,
) -> Result<BTreeSet<String>, StorageError> {
    let filter = doc! {
        "_id": { "$gte": image_key(collection, first), "$lte": image_key(collection, last) },
        "candidate": { "$exists": false },
    };
    let query = Query::sorted(doc! {}).only(doc! { "image": 1 });
    let found = database.find(CLAIMS, filter, query).await?;
    let images = found
        .iter()
        .map(|claim| claim.get_str("image").map(str::to_owned));
    images.collect::<Result<_, _>>().map_err(damaged)
}
