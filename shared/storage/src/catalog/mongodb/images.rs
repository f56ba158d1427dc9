//! The images' collection, and who has claimed an image.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join;
use maskline_messages::{
    CandidateId, ImageId, JobId, Label, LabelOrigin, Location, Measurements, Prediction,
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
    records::{CandidateState, ImageDocument, ImageFacts},
};

/// Images whose facts are read at a time. A document in memory takes kilobytes.
const FACTS: usize = 250;

#[async_trait]
impl Images for MongodbCatalog {
    async fn claim_image(
        &self,
        job: JobId,
        image: &ImageId,
        candidate: CandidateId,
    ) -> Result<CandidateId, StorageError> {
        let claims = self.database.collection(CLAIMS);
        let key = image_key(job, image);
        let claim = doc! {
            "job": job.to_string(),
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
        let first = found.get_str("candidate").map_err(damaged)?;
        first.parse().map_err(damaged)
    }

    async fn put_image(&self, image: &ImageDocument) -> Result<(), StorageError> {
        self.database.replace(IMAGES, image_document(image)?).await
    }

    async fn image_facts(
        &self,
        job: JobId,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<ImageFacts>, StorageError> {
        let mut facts = vec![];
        let mut after = after.copied();
        // Images whose candidates are not stored leave gaps, so this reads on until the page
        // is full.
        while facts.len() < limit {
            let wanted = (limit - facts.len()).min(FACTS);
            let filter = doc! { "_id": image_keys(job, after.as_ref()) };
            let query = Query::sorted(doc! { "_id": 1 })
                .only(doc! { "binary": 0 })
                .limit(wanted);
            let page = self.database.find(IMAGES, filter, query).await?;
            let page: Vec<Described> = records(page)?;
            let is_last = page.len() < wanted;
            after = page.last().map(|image| image.image);
            facts.extend(facts_among(&self.database, job, page).await?);
            if is_last {
                break;
            }
        }
        Ok(facts)
    }

    async fn image_bytes(
        &self,
        job: JobId,
        images: &[ImageId],
    ) -> Result<Vec<Bytes>, StorageError> {
        let collection = self.database.collection(IMAGES);
        let mut found: HashMap<String, Bytes> = HashMap::new();
        for batch in images.chunks(BATCH) {
            let keys: Vec<_> = batch.iter().map(|image| image_key(job, image)).collect();
            let reading = async {
                let mut cursor = collection
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
            let bytes = found.get(&image_key(job, image)).cloned();
            bytes.ok_or_else(|| missing::image(job, image))
        });
        in_order.collect()
    }

    async fn image_sources(
        &self,
        job: JobId,
        images: &[ImageId],
    ) -> Result<Vec<Location>, StorageError> {
        #[derive(Deserialize)]
        struct Located {
            image: ImageId,
            source: Location,
        }
        let mut found: HashMap<ImageId, Location> = HashMap::new();
        for batch in images.chunks(BATCH) {
            let keys: Vec<_> = batch.iter().map(|image| image_key(job, image)).collect();
            let filter = doc! { "_id": { "$in": keys } };
            let query = Query::sorted(doc! {}).only(doc! { "image": 1, "source": 1 });
            let located: Vec<Located> = records(self.database.find(IMAGES, filter, query).await?)?;
            found.extend(located.into_iter().map(|one| (one.image, one.source)));
        }
        let in_order = images.iter().map(|image| {
            let source = found.get(image).cloned();
            source.ok_or_else(|| missing::image(job, image))
        });
        in_order.collect()
    }

    async fn image(
        &self,
        job: JobId,
        image: &ImageId,
    ) -> Result<Option<ImageDocument>, StorageError> {
        let key = doc! { "_id": image_key(job, image) };
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

/// The labels that the source gives to the job's candidates, by image: those whose image
/// id is one from `first` to `last`.
async fn labels_between(
    database: &Database,
    job: JobId,
    first: ImageId,
    last: ImageId,
) -> Result<HashMap<ImageId, Vec<(CandidateId, Label)>>, StorageError> {
    #[derive(Deserialize)]
    struct Labelled {
        id: CandidateId,
        image: ImageId,
        label: Option<Label>,
    }
    let between = doc! { "$gte": first.to_string(), "$lte": last.to_string() };
    let filter = doc! { "job": job.to_string(), "image": between };
    let query = Query::sorted(doc! {}).only(doc! { "image": 1, "label": 1 });
    let mut labels: HashMap<_, Vec<_>> = HashMap::new();
    for found in database.find(CANDIDATES, filter, query).await? {
        let labelled: Labelled = record(found)?;
        if let Some(label) = labelled.label {
            labels
                .entry(labelled.image)
                .or_default()
                .push((labelled.id, label));
        }
    }
    Ok(labels)
}

/// Facts about those of the images (sorted by id) whose candidates are stored.
async fn facts_among(
    database: &Database,
    job: JobId,
    images: Vec<Described>,
) -> Result<Vec<ImageFacts>, StorageError> {
    let (Some(first), Some(last)) = (images.first(), images.last()) else {
        return Ok(vec![]);
    };
    let candidates = images.iter().map(|i| i.candidate.to_string()).collect();
    let (stored, labels) = try_join(
        stored_among(database, candidates),
        labels_between(database, job, first.image, last.image),
    )
    .await?;
    let stored = images
        .into_iter()
        .filter(|image| stored.contains(&image.candidate));
    let facts = stored.map(|image| {
        let given = labels.get(&image.image).into_iter().flatten();
        let conflicting: BTreeSet<&Label> = given
            .filter(|(candidate, label)| *candidate != image.candidate && *label != image.label)
            .map(|(_, label)| label)
            .collect();
        let conflicting = conflicting.into_iter().cloned().collect();
        image.facts(conflicting)
    });
    Ok(facts.collect())
}

/// The `_id` of a job's image, and of its claim.
fn image_key(job: JobId, image: &ImageId) -> String {
    format!("{job}/{image}")
}

/// A condition on the `_id`s of a job's images: those after `after`.
fn image_keys(job: JobId, after: Option<&ImageId>) -> Document {
    let from = match after {
        Some(image) => image_key(job, image),
        None => format!("{job}/"),
    };
    // `0` comes next after `/` in ASCII.
    doc! { "$gt": from, "$lt": format!("{job}0") }
}

/// An image's document without `_id` and pixels.
#[derive(Serialize, Deserialize)]
struct Described {
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
    /// `conflicting` is sorted, see [`ImageFacts`].
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

fn image_document(image: &ImageDocument) -> Result<Document, StorageError> {
    let described = document(&Described {
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
    let mut document = doc! { "_id": image_key(image.job, &image.image) };
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
