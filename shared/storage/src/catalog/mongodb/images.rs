//! The images' collection, and who has claimed an image.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join3;
use maskline_messages::{
    CandidateId, CollectionName, ImageId, JobId, Label, LabelOrigin, Location, Measurements,
    Prediction, Reason,
};
use mongodb::{
    bson::{Binary, Bson, Document, doc, spec::BinarySubtype},
    options::ReturnDocument,
};
use serde::{Deserialize, Serialize};

use super::{
    MongodbCatalog,
    database::{BATCH, Database, Query},
    documents::{damaged, document, record, records},
    schema::{CANDIDATES, CLAIMS, IMAGES},
};
use crate::{
    catalog::{images::Images, missing},
    error::StorageError,
    records::{Candidate, CandidateState, Claim, ImageDocument, ImageFacts, Sighting},
};

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

/// Says whether a candidate was rejected or given up.
async fn has_ended_without(
    database: &Database,
    candidate: CandidateId,
) -> Result<bool, StorageError> {
    let ended = [CandidateState::Rejected, CandidateState::Failed].map(CandidateState::as_str);
    let filter = doc! { "_id": candidate.to_string(), "state": { "$in": ended.to_vec() } };
    Ok(database.find_one(CANDIDATES, filter).await?.is_some())
}

/// The candidates that stand for images, by image.
async fn holders_of(
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
pub(super) async fn kept_among(
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
async fn stored_among(
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
async fn removed_between(
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

/// The candidates of the collection that turned out to be these images, by image. The server
/// groups those that are alike, of which there may be any number.
async fn sightings_of(
    database: &Database,
    collection: &CollectionName,
    images: &[ImageId],
) -> Result<HashMap<ImageId, Vec<Sighting>>, StorageError> {
    #[derive(Deserialize)]
    struct Group {
        #[serde(rename = "_id")]
        alike: Alike,
        lowest: CandidateId,
    }
    #[derive(Deserialize)]
    struct Alike {
        image: ImageId,
        job: JobId,
        label: Option<Label>,
        state: CandidateState,
        reason: Option<String>,
    }
    let ids: Vec<_> = images.iter().map(ToString::to_string).collect();
    let filter = doc! { "collection": collection.as_str(), "image": { "$in": ids } };
    let group = doc! {
        "_id": {
            "image": "$image",
            "job": "$job",
            "label": "$label",
            "state": "$state",
            "reason": "$reason.code",
        },
        "lowest": { "$min": "$_id" },
    };
    let mut sightings: HashMap<_, Vec<Sighting>> = HashMap::new();
    let groups: Vec<Group> = database.groups(CANDIDATES, filter, group).await?;
    for Group { alike, lowest } in groups {
        sightings.entry(alike.image).or_default().push(Sighting {
            candidate: lowest,
            job: alike.job,
            label: alike.label,
            state: alike.state,
            reason: alike.reason,
        });
    }
    for of_image in sightings.values_mut() {
        of_image.sort_by_key(|sighting| sighting.candidate);
    }
    Ok(sightings)
}

/// Facts about those of the images (sorted by id) whose candidates are stored, without those
/// that were removed.
async fn facts_among(
    database: &Database,
    collection: &CollectionName,
    images: Vec<Described>,
) -> Result<Vec<ImageFacts>, StorageError> {
    let (Some(first), Some(last)) = (images.first(), images.last()) else {
        return Ok(vec![]);
    };
    let candidates = images.iter().map(|i| i.candidate.to_string()).collect();
    let ids: Vec<ImageId> = images.iter().map(|image| image.image).collect();
    let (stored, removed, mut sightings) = try_join3(
        stored_among(database, candidates),
        removed_between(database, collection, &first.image, &last.image),
        sightings_of(database, collection, &ids),
    )
    .await?;
    let kept = images.into_iter().filter(|image| {
        stored.contains(&image.candidate) && !removed.contains(&image.image.to_string())
    });
    let facts = kept.map(|image| {
        let sightings = sightings.remove(&image.image).unwrap_or_default();
        image.facts(sightings)
    });
    Ok(facts.collect())
}

/// The `_id` of a collection's image, and of its claim.
pub(super) fn image_key(collection: &CollectionName, image: &ImageId) -> String {
    format!("{collection}/{image}")
}

/// A condition on the `_id`s of a collection's images: those after `after`.
pub(super) fn image_keys(collection: &CollectionName, after: Option<&ImageId>) -> Document {
    let from = match after {
        Some(image) => image_key(collection, image),
        None => format!("{collection}/"),
    };
    // `0` comes next after `/` in ASCII.
    doc! { "$gt": from, "$lt": format!("{collection}0") }
}

/// An image's document without `_id` and pixels.
#[derive(Serialize, Deserialize)]
struct Described {
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

fn image_document(image: &ImageDocument) -> Result<Document, StorageError> {
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
fn image_of(mut document: Document) -> Result<ImageDocument, StorageError> {
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
