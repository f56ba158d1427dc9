//! The images' collection, and who has claimed an image.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join3;
use maskline_messages::{
    CandidateId, CollectionName, ImageId, JobId, Label, LabelOrigin, Location, Measurements,
    Prediction,
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
        match found.get_str("candidate") {
            Ok(holder) => Ok(Claim::Held(holder.parse().map_err(damaged)?)),
            Err(_) => Ok(Claim::Removed),
        }
    }

    async fn put_image(&self, image: &ImageDocument) -> Result<(), StorageError> {
        self.database.replace(IMAGES, image_document(image)?).await
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

    async fn image_candidates(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Candidate>, StorageError> {
        let mut found: HashMap<ImageId, Candidate> = HashMap::new();
        for batch in images.chunks(BATCH) {
            let keys: Vec<_> = batch
                .iter()
                .map(|image| image_key(collection, image))
                .collect();
            let of_images = doc! { "_id": { "$in": keys } };
            let query = Query::sorted(doc! {}).only(doc! { "candidate": 1 });
            let holders = self.database.find(IMAGES, of_images, query).await?;
            let holders = holders
                .iter()
                .map(|image| image.get_str("candidate").map_err(damaged));
            let holders: Vec<&str> = holders.collect::<Result<_, _>>()?;
            let filter = doc! { "_id": { "$in": holders } };
            let query = Query::sorted(doc! {});
            let candidates = self.database.find(CANDIDATES, filter, query).await?;
            for candidate in records::<Candidate>(candidates)? {
                found.extend(candidate.image.map(|image| (image, candidate)));
            }
        }
        let in_order = images.iter().map(|image| {
            let candidate = found.get(image).cloned();
            candidate.ok_or_else(|| missing::image(collection, image))
        });
        in_order.collect()
    }

    async fn image_sightings(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Vec<Sighting>>, StorageError> {
        let mut found = HashMap::new();
        for batch in images.chunks(BATCH) {
            let ids: Vec<_> = batch.iter().map(ImageId::to_string).collect();
            let among = doc! { "$in": ids };
            found.extend(sightings_of(&self.database, collection, among).await?);
        }
        let in_order = images.iter();
        Ok(in_order
            .map(|image| found.get(image).cloned().unwrap_or_default())
            .collect())
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

/// Selects those of the candidates that are stored.
async fn stored_among(
    database: &Database,
    candidates: Vec<String>,
) -> Result<BTreeSet<CandidateId>, StorageError> {
    let stored = CandidateState::Stored.as_str();
    let filter = doc! { "_id": { "$in": candidates }, "state": stored };
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

/// The candidates of those of the collection's images whose ids are as this condition says, by
/// image.
async fn sightings_of(
    database: &Database,
    collection: &CollectionName,
    images: Document,
) -> Result<HashMap<ImageId, Vec<Sighting>>, StorageError> {
    #[derive(Deserialize)]
    struct Found {
        id: CandidateId,
        job: JobId,
        image: ImageId,
        label: Option<Label>,
        state: CandidateState,
        reason: Option<Coded>,
    }
    #[derive(Deserialize)]
    struct Coded {
        code: String,
    }
    let filter = doc! { "collection": collection.as_str(), "image": images };
    // Sorted by id, so that the first of those that are alike is the one with the lowest.
    let query = Query::sorted(doc! { "_id": 1 })
        .only(doc! { "job": 1, "image": 1, "label": 1, "state": 1, "reason.code": 1 });
    let mut sightings: HashMap<_, Vec<Sighting>> = HashMap::new();
    for found in database.find(CANDIDATES, filter, query).await? {
        let found: Found = record(found)?;
        let sighting = Sighting {
            candidate: found.id,
            job: found.job,
            label: found.label,
            state: found.state,
            reason: found.reason.map(|reason| reason.code),
        };
        let of_image = sightings.entry(found.image).or_default();
        let is_like = |other: &Sighting| {
            let candidate = sighting.candidate;
            *other
                == Sighting {
                    candidate: other.candidate,
                    ..sighting.clone()
                }
                && other.candidate <= candidate
        };
        if !of_image.iter().any(is_like) {
            of_image.push(sighting);
        }
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
    let between = doc! { "$gte": first.image.to_string(), "$lte": last.image.to_string() };
    let (stored, removed, mut sightings) = try_join3(
        stored_among(database, candidates),
        removed_between(database, collection, &first.image, &last.image),
        sightings_of(database, collection, between),
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
fn image_key(collection: &CollectionName, image: &ImageId) -> String {
    format!("{collection}/{image}")
}

/// A condition on the `_id`s of a collection's images: those after `after`.
fn image_keys(collection: &CollectionName, after: Option<&ImageId>) -> Document {
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
