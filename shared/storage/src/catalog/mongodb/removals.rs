//! What was removed: images (see the collection of claims), locations, sources and versions.
//!
//! What is remembered comes first, then the candidates are changed, and at last the collection is
//! opened. A process that dies in between does all of it again.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use maskline_messages::{
    CandidateId, CandidateState, CollectionName, ImageId, JobId, Location, LocationId, Reason,
};
use mongodb::bson::{Bson, Document, doc};
use serde::Deserialize;
use url::Url;

use super::{
    MongodbCatalog,
    collections::{key, open_collection},
    database::{BATCH, Database, Query},
    documents::{bson, damaged},
    failure::are_only_duplicates,
    images::{image_key, image_keys},
    ledger::Ledger,
    schema::{CANDIDATES, CLAIMS, COLLECTIONS, IMAGES, JOBS, REMOVED_PLACES},
};
use crate::{
    catalog::{missing, removals::Removals},
    error::StorageError,
    records::{Job, REMOVED_BY, Removal, erased_location},
};

/// How many documents are written at the same time.
const WRITING: usize = 16;

#[async_trait]
impl Removals for MongodbCatalog {
    async fn remove_job(&self, job: JobId, at: u64, purge: bool) -> Result<u64, StorageError> {
        let database = &self.database;
        let found: Option<Job> = database.by_id(JOBS, job.to_string()).await?;
        let found = found.ok_or_else(|| missing::job(job))?;
        let mut removed = doc! { "removed": bson(&found.removed.unwrap_or(at))? };
        if purge {
            removed.insert("purged", true);
        }
        let update = doc! { "$set": removed };
        database
            .update(JOBS, doc! { "_id": job.to_string() }, update)
            .await?;
        let unfinished = [CandidateState::InFlight, CandidateState::Failed];
        let unfinished = unfinished.map(CandidateState::as_str).to_vec();
        let unfinished = doc! { "job": job.to_string(), "state": { "$in": unfinished } };
        let ended = change_candidates(database, unfinished, ended_as_removed()?).await?;
        open_collection(database, &found.collection).await?;
        Ok(ended)
    }

    async fn remove_images(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
        purge: bool,
    ) -> Result<(), StorageError> {
        let database = &self.database;
        for batch in images.chunks(BATCH) {
            let mut removing = Vec::with_capacity(batch.len());
            for image in batch {
                let mut set = doc! {
                    "collection": collection.as_str(),
                    "image": image.to_string(),
                };
                if purge {
                    set.insert("purged", true);
                }
                let update = doc! { "$set": set, "$unset": { "candidate": "" } };
                removing.push(database.upsert(CLAIMS, image_key(collection, image), update));
            }
            let removing = stream::iter(removing).buffer_unordered(WRITING);
            removing.try_collect::<()>().await?;
            #[derive(Deserialize)]
            struct Place {
                #[serde(rename = "_id")]
                place: LocationId,
            }
            let of_images = of_images(collection, batch);
            let group = doc! { "_id": "$place" };
            let places: Vec<Place> = database
                .groups(CANDIDATES, of_images.clone(), group)
                .await?;
            let places: Vec<_> = places.into_iter().map(|place| place.place).collect();
            self.remove_places(collection, &places).await?;
            end_as_removed(database, of_images).await?;
        }
        open_collection(database, collection).await
    }

    async fn remove_places(
        &self,
        collection: &CollectionName,
        places: &[LocationId],
    ) -> Result<(), StorageError> {
        let documents = self.database.collection(REMOVED_PLACES);
        for batch in places.chunks(BATCH) {
            let new = batch
                .iter()
                .map(|place| doc! { "_id": place_key(collection, place) });
            let inserting = async {
                match documents.insert_many(new).ordered(false).await {
                    Err(error) if are_only_duplicates(&error) => Ok(()),
                    outcome => outcome.map(drop),
                }
            };
            self.database
                .connection
                .run("insert", REMOVED_PLACES, inserting)
                .await?;
        }
        Ok(())
    }

    async fn remove_candidates(
        &self,
        collection: &CollectionName,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError> {
        for batch in candidates.chunks(BATCH) {
            end_as_removed(&self.database, with_ids(collection, batch)).await?;
        }
        open_collection(&self.database, collection).await
    }

    async fn removed_places(
        &self,
        collection: &CollectionName,
        places: &[LocationId],
    ) -> Result<BTreeSet<LocationId>, StorageError> {
        let mut removed = BTreeSet::new();
        for batch in places.chunks(BATCH) {
            let keys: Vec<_> = batch
                .iter()
                .map(|place| place_key(collection, place))
                .collect();
            let filter = doc! { "_id": { "$in": keys } };
            let query = Query::sorted(doc! {});
            let found = self.database.find(REMOVED_PLACES, filter, query).await?;
            let keys: BTreeSet<&str> = found
                .iter()
                .map(|found| found.get_str("_id").map_err(damaged))
                .collect::<Result<_, _>>()?;
            let places = batch.iter().copied();
            removed.extend(
                places.filter(|place| keys.contains(place_key(collection, place).as_str())),
            );
        }
        Ok(removed)
    }

    async fn removed_images(
        &self,
        collection: &CollectionName,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<ImageId>, StorageError> {
        let filter = doc! {
            "_id": image_keys(collection, after),
            "candidate": { "$exists": false },
        };
        let query = Query::sorted(doc! { "_id": 1 })
            .only(doc! { "image": 1 })
            .limit(limit);
        let found = self.database.find(CLAIMS, filter, query).await?;
        let images = found.iter().map(|claim| {
            let image = claim.get_str("image").map_err(damaged)?;
            image.parse().map_err(damaged)
        });
        images.collect()
    }

    async fn removal(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<Option<Removal>, StorageError> {
        let removed = doc! {
            "_id": image_key(collection, image),
            "candidate": { "$exists": false },
        };
        let found = self.database.find_one(CLAIMS, removed).await?;
        Ok(found.map(|claim| Removal {
            purged: claim.get_bool("purged").unwrap_or_default(),
        }))
    }

    async fn images_at(
        &self,
        collection: &CollectionName,
        url: &Url,
    ) -> Result<BTreeSet<ImageId>, StorageError> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(rename = "_id")]
            image: ImageId,
        }
        let place = LocationId::of(&Location::Url(url.clone()));
        let mut images = BTreeSet::new();
        for (field, value) in [
            ("place", place.to_string()),
            ("provenance.landing_page", url.to_string()),
        ] {
            let filter = doc! {
                "collection": collection.as_str(),
                field: value,
                "image": { "$exists": true },
            };
            let group = doc! { "_id": "$image" };
            let found: Vec<Found> = self.database.groups(CANDIDATES, filter, group).await?;
            images.extend(found.into_iter().map(|found| found.image));
        }
        Ok(images)
    }

    async fn is_elsewhere(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<bool, StorageError> {
        let filter = doc! {
            "image": image.to_string(),
            "collection": { "$ne": collection.as_str() },
            "reason.code": { "$ne": Reason::Removed.code() },
        };
        Ok(self.database.find_one(CANDIDATES, filter).await?.is_some())
    }

    async fn delete_images(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<(), StorageError> {
        for batch in images.chunks(BATCH) {
            let keys: Vec<_> = batch
                .iter()
                .map(|image| image_key(collection, image))
                .collect();
            let filter = doc! { "_id": { "$in": keys } };
            self.database.delete(IMAGES, filter).await?;
        }
        Ok(())
    }

    async fn erase_images(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<(), StorageError> {
        for batch in images.chunks(BATCH) {
            erase(&self.database, of_images(collection, batch)).await?;
        }
        Ok(())
    }

    async fn erase_candidates(
        &self,
        collection: &CollectionName,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError> {
        for batch in candidates.chunks(BATCH) {
            erase(&self.database, with_ids(collection, batch)).await?;
        }
        Ok(())
    }

    async fn delete_version(&self, name: &CollectionName, number: u32) -> Result<(), StorageError> {
        let mut version = key(name);
        version.insert("versions.number", i64::from(number));
        let update = doc! { "$set": { "versions.$.deleted": true } };
        if self.database.update(COLLECTIONS, version, update).await? {
            return Ok(());
        }
        let unknown = missing::collection(name);
        self.database
            .must_exist(COLLECTIONS, name.to_string(), unknown)
            .await
    }

    /// A document that was deleted is gone for every client. When MongoDB uses its place in the
    /// files for something else is its own affair.
    async fn wipe_deleted(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

fn place_key(collection: &CollectionName, place: &LocationId) -> String {
    format!("{collection}/{place}")
}

/// A filter for the candidates that turned out to be these images.
fn of_images(collection: &CollectionName, images: &[ImageId]) -> Document {
    let images: Vec<_> = images.iter().map(ToString::to_string).collect();
    doc! { "collection": collection.as_str(), "image": { "$in": images } }
}

fn with_ids(collection: &CollectionName, candidates: &[CandidateId]) -> Document {
    let ids: Vec<_> = candidates.iter().map(ToString::to_string).collect();
    doc! { "_id": { "$in": ids }, "collection": collection.as_str() }
}

/// The update that ends a candidate as removed.
fn ended_as_removed() -> Result<Document, StorageError> {
    Ok(doc! {
        "$set": {
            "state": CandidateState::REMOVE.to.as_str(),
            "stage": REMOVED_BY,
            "reason": bson(&Reason::Removed)?,
        },
        "$unset": { "error": "" },
    })
}

/// Ends those candidates as removed that have not ended so before.
async fn end_as_removed(database: &Database, mut filter: Document) -> Result<(), StorageError> {
    filter.insert("reason.code", doc! { "$ne": Reason::Removed.code() });
    change_candidates(database, filter, ended_as_removed()?)
        .await
        .map(drop)
}

/// Ends candidates as removed, and forgets what they were.
async fn erase(database: &Database, filter: Document) -> Result<(), StorageError> {
    end_as_removed(database, filter.clone()).await?;
    let update = doc! {
        "$set": { "location": bson(&erased_location())?, "history": Bson::Array(vec![]) },
        "$unset": {
            "place": "", "label": "", "provenance": "", "image": "", "fetched": "", "trace_id": "",
        },
    };
    let candidates = database.collection(CANDIDATES);
    let erasing = candidates.update_many(filter, update);
    database
        .connection
        .run("update", CANDIDATES, erasing)
        .await
        .map(drop)
}

/// Changes the state of candidates. Their pages in the ledger are opened before and after that.
/// Returns how many were changed.
async fn change_candidates(
    database: &Database,
    filter: Document,
    update: Document,
) -> Result<u64, StorageError> {
    let ledger = Ledger::of(database);
    let group = doc! { "_id": { "job": "$job", "page": "$page" } };
    let pages: Vec<PageGroup> = database.groups(CANDIDATES, filter.clone(), group).await?;
    open_pages(&ledger, &pages).await?;
    let candidates = database.collection(CANDIDATES);
    let changing = candidates.update_many(filter, update);
    let changed = database.connection.run("update", CANDIDATES, changing);
    let changed = changed.await?.matched_count;
    open_pages(&ledger, &pages).await?;
    Ok(changed)
}

async fn open_pages(ledger: &Ledger<'_>, pages: &[PageGroup]) -> Result<(), StorageError> {
    let mut opening = Vec::with_capacity(pages.len());
    for PageGroup { page } in pages {
        opening.push(ledger.open_page(page.job, &page.page));
    }
    let opening = stream::iter(opening).buffer_unordered(WRITING);
    opening.try_collect().await
}

/// A page of the ledger on which there are candidates.
#[derive(Deserialize)]
struct PageGroup {
    #[serde(rename = "_id")]
    page: Page,
}

#[derive(Deserialize)]
struct Page {
    job: JobId,
    page: String,
}
