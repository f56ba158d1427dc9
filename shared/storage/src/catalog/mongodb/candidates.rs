//! The candidates' collection. How many of a job's are in which state is counted in
//! [`super::ledger`].

use async_trait::async_trait;
use futures::future::try_join_all;
use maskline_messages::{CandidateId, ImageId, JobId};
use mongodb::bson::{Bson, Document, doc};

use super::{
    MongodbCatalog,
    database::{BATCH, Query},
    documents::{bson, document, records, replace_fields, unrecordable},
    failure::are_only_duplicates,
    jobs::reopen_freezing,
    ledger::Ledger,
    schema::CANDIDATES,
};
use crate::{
    catalog::{candidates::Candidates, missing},
    error::StorageError,
    records::{Books, Candidate, CandidateState, End, Ending, NewCandidate},
};

#[async_trait]
impl Candidates for MongodbCatalog {
    async fn add_candidates(&self, candidates: &[NewCandidate]) -> Result<(), StorageError> {
        let collection = self.database.collection(CANDIDATES);
        let ledger = Ledger::of(&self.database);
        let jobs = candidates.chunk_by(|one, other| one.job == other.job);
        for batch in jobs.flat_map(|of_job| of_job.chunks(BATCH)) {
            // The same for the same candidates, which come again where this fails.
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
        let query = Query::sorted(doc! { "_id": 1 }).at_most(limit);
        records(self.database.find(CANDIDATES, filter, query).await?)
    }

    async fn finish_candidate(&self, ending: &Ending) -> Result<CandidateState, StorageError> {
        let update = outcome_update(ending)?;
        if self
            .database
            .update(CANDIDATES, ends(ending), update)
            .await?
        {
            return Ok(ending.end.state());
        }
        let id = ending.candidate;
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
            let ids: Vec<_> = batch.iter().map(ToString::to_string).collect();
            let [failed, in_flight] =
                [CandidateState::Failed, CandidateState::InFlight].map(CandidateState::as_str);
            let mut open = doc! {
                "_id": { "$in": ids },
                "job": job.to_string(),
                "state": { "$in": [failed, in_flight] },
            };
            let pages = ledger.pages_of(open.clone()).await?;
            if pages.is_empty() {
                continue;
            }
            // The job before and after. Before: a death in between must not leave one
            // that stays frozen though a candidate is in flight. After: by then it may
            // have been frozen again, without them.
            reopen_freezing(&self.database, job).await?;
            let opening = || try_join_all(pages.iter().map(|page| ledger.open_page(job, page)));
            opening().await?;
            open.insert("state", failed);
            let update = doc! {
                "$set": { "state": in_flight },
                "$unset": { "stage": "", "error": "" },
            };
            let reopening = collection.update_many(open, update);
            self.database
                .connection
                .run("update", CANDIDATES, reopening)
                .await?;
            opening().await?;
            reopen_freezing(&self.database, job).await?;
        }
        Ok(())
    }

    async fn counts(&self, job: JobId) -> Result<Books, StorageError> {
        Ledger::of(&self.database).counts(job).await
    }
}

/// `page`: see [`super::ledger`].
fn new_candidate(found: &NewCandidate, page: &str) -> Result<Document, StorageError> {
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
fn ends(ending: &Ending) -> Document {
    let in_flight = CandidateState::InFlight.as_str();
    doc! { "_id": ending.candidate.to_string(), "state": in_flight }
}

/// The update that ends a candidate. Image and trace stay where the ending names none.
fn outcome_update(ending: &Ending) -> Result<Document, StorageError> {
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
