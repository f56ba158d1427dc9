//! The candidates' collection. How many of a job's are in which state is counted in
//! [`super::ledger`].

use std::collections::HashMap;

use async_trait::async_trait;
use futures::future::try_join_all;
use maskline_messages::{
    CandidateId, CollectionName, Fetched, ImageId, JobId, KnownImage, Location, LocationId, Reason,
};
use mongodb::bson::{Bson, Document, doc};
use serde::Deserialize;

use super::{
    MongodbCatalog,
    database::{BATCH, Query},
    documents::{bson, document, record, records, replace_fields, unrecordable},
    failure::are_only_duplicates,
    images::kept_among,
    jobs::reopen_freezing,
    ledger::Ledger,
    schema::CANDIDATES,
};
use crate::{
    catalog::{candidates::Candidates, missing},
    error::StorageError,
    records::{Candidate, CandidateOutcome, CandidateState, Counts, NewCandidate},
};

#[async_trait]
impl Candidates for MongodbCatalog {
    async fn add_candidates(&self, candidates: &[NewCandidate]) -> Result<(), StorageError> {
        let collection = self.database.collection(CANDIDATES);
        let ledger = Ledger::of(&self.database);
        let jobs = candidates.chunk_by(|one, other| one.job == other.job);
        for batch in jobs.flat_map(|of_job| of_job.chunks(BATCH)) {
            // The page is the same for the same candidates, which come again if this fails.
            let (job, page) = (batch[0].job, batch[0].id.to_string());
            let documents = batch.iter().map(|found| new_candidate(found, &page));
            let documents = documents.collect::<Result<Vec<_>, _>>()?;
            let inserting = async {
                match collection.insert_many(documents).ordered(false).await {
                    Err(error) if are_only_duplicates(&error) => Ok(None),
                    outcome => outcome.map(|_| Some(batch.len())),
                }
            };
            ledger.open_page(job, &page).await?;
            let new = self
                .database
                .connection
                .run("insert", CANDIDATES, inserting)
                .await?;
            ledger.open_recorded(job, &page, new).await?;
            ledger.close_pages(job, &page).await?;
        }
        Ok(())
    }

    async fn candidate(&self, id: CandidateId) -> Result<Option<Candidate>, StorageError> {
        self.database.by_id(CANDIDATES, id.to_string()).await
    }

    async fn candidates_of(&self, image: &ImageId) -> Result<Vec<Candidate>, StorageError> {
        let filter = doc! { "image": image.to_string() };
        let query = Query::sorted(doc! { "_id": 1 });
        records(self.database.find(CANDIDATES, filter, query).await?)
    }

    async fn known_images(
        &self,
        collection: &CollectionName,
        job: JobId,
        locations: &[Location],
    ) -> Result<Vec<Option<KnownImage>>, StorageError> {
        #[derive(Deserialize)]
        struct Found {
            id: CandidateId,
            place: LocationId,
            image: ImageId,
            fetched: Fetched,
        }
        let places: Vec<LocationId> = locations.iter().map(LocationId::of).collect();
        let mut known: HashMap<LocationId, KnownImage> = HashMap::new();
        for batch in places.chunks(BATCH) {
            let batch: Vec<_> = batch.iter().map(ToString::to_string).collect();
            let filter = doc! {
                "collection": collection.as_str(),
                "place": { "$in": batch },
                "fetched": { "$exists": true },
                "image": { "$exists": true },
                "job": { "$ne": job.to_string() },
                "$or": [
                    { "state": CandidateState::Stored.as_str() },
                    { "reason.code": { "$in": Reason::COPIES.to_vec() } },
                ],
            };
            let query = Query::sorted(doc! { "fetched.at": 1, "_id": -1 })
                .only(doc! { "place": 1, "image": 1, "fetched": 1 });
            // What was fetched last comes last.
            for found in self.database.find(CANDIDATES, filter, query).await? {
                let found: Found = record(found)?;
                let image = KnownImage {
                    candidate: found.id,
                    image: found.image,
                    fetched: found.fetched,
                };
                known.insert(found.place, image);
            }
        }
        let images: Vec<ImageId> = known.values().map(|known| known.image).collect();
        let there = kept_among(&self.database, collection, &images).await?;
        known.retain(|_, known| there.contains(&known.image));
        let known = places.iter().map(|place| known.get(place).cloned());
        Ok(known
            .map(|known| known.filter(|known| known.fetched.has_validator()))
            .collect())
    }

    async fn candidates_in(
        &self,
        job: JobId,
        state: CandidateState,
        after: Option<CandidateId>,
        limit: usize,
    ) -> Result<Vec<Candidate>, StorageError> {
        let mut filter = doc! { "job": job.to_string(), "state": state.as_str() };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after.to_string() });
        }
        let query = Query::sorted(doc! { "_id": 1 }).limit(limit);
        records(self.database.find(CANDIDATES, filter, query).await?)
    }

    async fn finish_candidate(
        &self,
        outcome: &CandidateOutcome,
    ) -> Result<CandidateState, StorageError> {
        let update = outcome_update(outcome)?;
        if self
            .database
            .update(CANDIDATES, before(outcome), update)
            .await?
        {
            return Ok(outcome.kind.state());
        }
        let id = outcome.candidate;
        let found: Option<Candidate> = self.database.by_id(CANDIDATES, id.to_string()).await?;
        found
            .map(|candidate| candidate.state)
            .ok_or_else(|| missing::candidate(id))
    }

    async fn reopen_candidates(
        &self,
        job: JobId,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError> {
        let collection = self.database.collection(CANDIDATES);
        let ledger = Ledger::of(&self.database);
        for batch in candidates.chunks(BATCH) {
            let change = CandidateState::REOPEN;
            let ids: Vec<_> = batch.iter().map(ToString::to_string).collect();
            let reopened = doc! {
                "_id": { "$in": ids },
                "job": job.to_string(),
                "state": in_one_of(change.from),
            };
            let pages = ledger.pages_of(reopened.clone()).await?;
            if pages.is_empty() {
                continue;
            }
            // The job is opened before and after the candidates. Before, because a death
            // in between must not leave a frozen job with a candidate in flight. After,
            // because the job may have been frozen again without the candidates.
            reopen_freezing(&self.database, job).await?;
            let opening = || try_join_all(pages.iter().map(|page| ledger.open_page(job, page)));
            opening().await?;
            let update = doc! {
                "$set": { "state": change.to.as_str() },
                "$unset": { "stage": "", "error": "" },
            };
            let reopening = collection.update_many(reopened, update);
            self.database
                .connection
                .run("update", CANDIDATES, reopening)
                .await?;
            opening().await?;
            reopen_freezing(&self.database, job).await?;
        }
        Ok(())
    }

    async fn counts(&self, job: JobId) -> Result<Counts, StorageError> {
        Ledger::of(&self.database).counts(job).await
    }
}

/// A candidate in flight, on a page of the ledger (see [`super::ledger`]).
fn new_candidate(found: &NewCandidate, page: &str) -> Result<Document, StorageError> {
    let mut candidate = document(&Candidate {
        id: found.id,
        collection: found.collection.clone(),
        job: found.job,
        location: found.location.clone(),
        label: found.label.clone(),
        provenance: found.provenance.clone(),
        state: CandidateState::InFlight,
        image: None,
        fetched: None,
        stage: None,
        reason: None,
        error: None,
        history: vec![],
        trace_id: None,
    })?;
    candidate.insert("page", page);
    candidate.insert("place", LocationId::of(&found.location).to_string());
    Ok(candidate)
}

/// A condition on the field `state`.
fn in_one_of(states: &[CandidateState]) -> Document {
    let names: Vec<_> = states.iter().map(|state| state.as_str()).collect();
    doc! { "$in": names }
}

/// A filter for the candidate, if the outcome applies to the state that it is in.
fn before(outcome: &CandidateOutcome) -> Document {
    let states = in_one_of(outcome.kind.change().from);
    doc! { "_id": outcome.candidate.to_string(), "state": states }
}

/// The update that writes the outcome. Image, fetching and trace id stay as they are if the
/// outcome names none.
fn outcome_update(outcome: &CandidateOutcome) -> Result<Document, StorageError> {
    let (stage, reason, error) = outcome.kind.details();
    let mut update = replace_fields([
        ("state", Some(outcome.kind.state().as_str().into())),
        ("history", Some(bson(&outcome.history)?)),
        ("stage", stage.map(Bson::from)),
        ("reason", reason.map(bson).transpose()?),
        ("error", error.map(Bson::from)),
    ]);
    let set = update.get_document_mut("$set").map_err(unrecordable)?;
    if let Some(image) = &outcome.image {
        set.insert("image", image.to_string());
    }
    if let Some(fetched) = &outcome.fetched {
        set.insert("fetched", bson(fetched)?);
    }
    if let Some(trace) = &outcome.trace_id {
        set.insert("trace_id", trace);
    }
    Ok(update)
}
