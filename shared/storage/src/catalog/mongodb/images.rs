//! The images' collection, and who has claimed an image.
//!
//! * `document`: the document of an image.
//! * `holders`: the candidates that stand for images, and which of them count.
//! * `facts`: what a plan needs to know of images.

mod document;
mod facts;
mod holders;

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::{CandidateId, CollectionName, ImageId, Measurements};
use mongodb::{
    bson::{Document, doc},
    options::ReturnDocument,
};
use serde::Deserialize;

use super::{
    MongodbCatalog,
    database::{BATCH, Query},
    documents::{damaged, record, records},
    schema::{CANDIDATES, CLAIMS, IMAGES},
};
use crate::{
    catalog::{images::Images, missing},
    error::StorageError,
    records::{Candidate, Claim, ImageDocument, ImageFacts, Sighting},
};
use document::{Described, image_document, image_of};
pub(super) use document::{image_key, image_keys};
use facts::{facts_among, sightings_of};
pub(super) use holders::kept_among;
use holders::{has_ended_without, holders_of};

/// Images whose facts are read at a time. A document in memory takes kilobytes.
const FACTS: usize = 250;

#[async_trait]
impl Images for MongodbCatalog {
    async fn claim_image(
        &self,
        collection: &CollectionName,
        image: &ImageId,
        candidate: CandidateId,
    ) -> Result<Claim, StorageError> {
        let claims = self.database.collection(CLAIMS);
        let key = image_key(collection, image);
        let claim = doc! {
            "collection": collection.as_str(),
            "image": image.to_string(),
            "candidate": candidate.to_string(),
        };
        loop {
            let attempt = || {
                claims
                    .find_one_and_update(doc! { "_id": &key }, doc! { "$setOnInsert": &claim })
                    .upsert(true)
                    .return_document(ReturnDocument::After)
            };
            let claiming = self
                .database
                .connection
                .upsert("findAndModify", CLAIMS, attempt);
            let found = claiming.await?.ok_or_else(|| damaged("a lost claim"))?;
            let claim = claim_of(&found)?;
            let Claim::Held(holder) = claim else {
                return Ok(claim);
            };
            if holder == candidate || !has_ended_without(&self.database, holder).await? {
                return Ok(claim);
            }
            // Whoever takes it over at the same time makes this find nothing.
            let as_seen = doc! { "_id": &key, "candidate": holder.to_string() };
            let update = doc! { "$set": { "candidate": candidate.to_string() } };
            self.database.update(CLAIMS, as_seen, update).await?;
        }
    }

    /// The claim is read before the document is written, and again after that: whoever removes the
    /// image in between either finds the document, or this finds out that it was removed.
    async fn put_image(&self, image: &ImageDocument) -> Result<Claim, StorageError> {
        let own = Claim::Held(image.candidate);
        let claim = self.claim(&image.collection, &image.image);
        match claim.await? {
            Some(claim) if claim != own => return Ok(claim),
            _ => {}
        }
        self.database
            .replace(IMAGES, image_document(image)?)
            .await?;
        let claim = self.claim(&image.collection, &image.image);
        match claim.await? {
            Some(Claim::Removed) => {
                let key = image_key(&image.collection, &image.image);
                self.database.delete(IMAGES, doc! { "_id": key }).await?;
                Ok(Claim::Removed)
            }
            _ => Ok(own),
        }
    }

    async fn image_facts(
        &self,
        collection: &CollectionName,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<ImageFacts>, StorageError> {
        let mut facts = vec![];
        let mut after = after.copied();
        // Images whose candidates are not stored leave gaps, so this reads on until the page
        // is full.
        while facts.len() < limit {
            let wanted = (limit - facts.len()).min(FACTS);
            let filter = doc! { "_id": image_keys(collection, after.as_ref()) };
            let query = Query::sorted(doc! { "_id": 1 })
                .only(doc! { "binary": 0 })
                .limit(wanted);
            let page = self.database.find(IMAGES, filter, query).await?;
            let page: Vec<Described> = records(page)?;
            let is_last = page.len() < wanted;
            after = page.last().map(|image| image.image);
            facts.extend(facts_among(&self.database, collection, page).await?);
            if is_last {
                break;
            }
        }
        Ok(facts)
    }

    async fn sightings(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Vec<Sighting>>, StorageError> {
        let mut found = HashMap::new();
        for batch in images.chunks(FACTS) {
            found.extend(sightings_of(&self.database, collection, batch).await?);
        }
        let in_order = images
            .iter()
            .map(|image| found.get(image).cloned().unwrap_or_default());
        Ok(in_order.collect())
    }

    async fn image_bytes(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Bytes>, StorageError> {
        let documents = self.database.collection(IMAGES);
        let mut found: HashMap<String, Bytes> = HashMap::new();
        for batch in images.chunks(BATCH) {
            let keys: Vec<_> = batch
                .iter()
                .map(|image| image_key(collection, image))
                .collect();
            let reading = async {
                let mut cursor = documents
                    .find(doc! { "_id": { "$in": keys } })
                    .projection(doc! { "binary": 1 })
                    .await?;
                while cursor.advance().await? {
                    let image = cursor.current();
                    let key = image.get_str("_id")?.to_owned();
                    let pixels = image.get_binary("binary")?.bytes;
                    found.insert(key, Bytes::copy_from_slice(pixels));
                }
                Ok(())
            };
            self.database
                .connection
                .run("find", IMAGES, reading)
                .await?;
        }
        let in_order = images.iter().map(|image| {
            let bytes = found.get(&image_key(collection, image)).cloned();
            bytes.ok_or_else(|| missing::image(collection, image))
        });
        in_order.collect()
    }

    async fn image_measurements(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Measurements>, StorageError> {
        #[derive(Deserialize)]
        struct Found {
            id: String,
            measurements: Measurements,
        }
        let documents = self.database.collection(IMAGES);
        let mut found: HashMap<String, Measurements> = HashMap::new();
        for batch in images.chunks(BATCH) {
            let keys = batch.iter().map(|image| image_key(collection, image));
            let keys: Vec<_> = keys.collect();
            let reading = async {
                let mut cursor = documents
                    .find(doc! { "_id": { "$in": keys } })
                    .projection(doc! { "measurements": 1 })
                    .await?;
                let mut read = vec![];
                while cursor.advance().await? {
                    read.push(cursor.deserialize_current()?);
                }
                Ok(read)
            };
            let connection = &self.database.connection;
            for document in connection.run("find", IMAGES, reading).await? {
                let Found { id, measurements } = record(document)?;
                found.insert(id, measurements);
            }
        }
        let in_order = images.iter().map(|image| {
            let measurements = found.get(&image_key(collection, image)).cloned();
            measurements.ok_or_else(|| missing::image(collection, image))
        });
        in_order.collect()
    }

    async fn image_candidates(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Candidate>, StorageError> {
        let mut found: HashMap<String, Candidate> = HashMap::new();
        for batch in images.chunks(BATCH) {
            let holders = holders_of(&self.database, collection, batch).await?;
            let ids: Vec<&str> = holders.values().map(String::as_str).collect();
            let filter = doc! { "_id": { "$in": ids } };
            let query = Query::sorted(doc! {});
            let candidates = self.database.find(CANDIDATES, filter, query).await?;
            let candidates = records::<Candidate>(candidates)?.into_iter();
            let candidates: HashMap<String, Candidate> = candidates
                .map(|candidate| (candidate.id.to_string(), candidate))
                .collect();
            let of_images = holders.into_iter().filter_map(|(image, holder)| {
                let candidate = candidates.get(&holder)?;
                Some((image, candidate.clone()))
            });
            found.extend(of_images);
        }
        let in_order = images.iter().map(|image| {
            let candidate = found.get(&image.to_string()).cloned();
            candidate.ok_or_else(|| missing::image(collection, image))
        });
        in_order.collect()
    }

    async fn image(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<Option<ImageDocument>, StorageError> {
        let key = doc! { "_id": image_key(collection, image) };
        let found = self.database.find_one(IMAGES, key).await?;
        found.map(image_of).transpose()
    }
}

impl MongodbCatalog {
    /// Who has an image. `None` if nobody has claimed it.
    async fn claim(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<Option<Claim>, StorageError> {
        let key = doc! { "_id": image_key(collection, image) };
        let found = self.database.find_one(CLAIMS, key).await?;
        found.as_ref().map(claim_of).transpose()
    }
}

fn claim_of(claim: &Document) -> Result<Claim, StorageError> {
    match claim.get_str("candidate") {
        Ok(holder) => Ok(Claim::Held(holder.parse().map_err(damaged)?)),
        Err(_) => Ok(Claim::Removed),
    }
}
