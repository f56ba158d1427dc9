//! What a plan needs to know of images: their facts, and all candidates that turned out to be them.

use std::collections::HashMap;

use futures::future::try_join3;
use maskline_messages::{CandidateId, CollectionName, ImageId, JobId, Label};
use mongodb::bson::doc;
use serde::Deserialize;

use super::{
    super::{database::Database, schema::CANDIDATES},
    document::Described,
    holders::{removed_between, stored_among},
};
use crate::{
    error::StorageError,
    records::{CandidateState, ImageFacts, Sighting},
};

/// The candidates of the collection that turned out to be these images, by image. The server
/// groups those that are alike, of which there may be any number.
pub async fn sightings_of(
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
pub async fn facts_among(
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
