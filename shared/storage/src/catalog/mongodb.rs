//! The catalog in MongoDB, for services on any number of machines.
//!
//! Every verb is one write to one document, or several of which each may be the
//! last: no transactions. Documents are written by derived `_id`, and states change
//! by updates that say in which state they may find the document.

mod connection;
mod documents;
mod failure;
mod ledger;
mod schema;

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    TryStreamExt,
    future::{try_join, try_join_all},
};
use maskline_messages::{CandidateId, DatasetId, ImageId, JobId, Label, RunId};
use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
    options::ReturnDocument,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::{
    connection::Connection,
    documents::{
        Described, as_seen, damaged, document, ends, exchanged, free_work, image_key, image_keys,
        new_candidate, record, records, replace_fields, work_key,
    },
    failure::are_only_duplicates,
    schema::{CANDIDATES, CLAIMS, DATASETS, IMAGES, JOBS, LEASES, MODELS, RUNS},
};
use super::Catalog;
use crate::{
    error::StorageError,
    records::{
        Books, Candidate, CandidateState, Dataset, Ending, ImageDocument, ImageFacts, Job,
        JobState, Lease, Model, NewCandidate, Run, RunState, Settled, Work,
    },
};

/// Documents in one insert, and ids in one query.
const BATCH: usize = 1_000;

/// Images whose facts are read at a time: documents in memory take kilobytes each.
const FACTS: usize = 250;

/// See [`Catalog`].
pub struct MongodbCatalog {
    connection: Connection,
}

impl MongodbCatalog {
    /// Connects to the database of a `mongodb://` address, and makes its indexes
    /// where they are missing.
    pub async fn open(url: &str) -> Result<Self, StorageError> {
        let connection = Connection::to(url).await?;
        schema::prepare(&connection).await?;
        Ok(Self { connection })
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.connection.collection(name)
    }

    // Reading

    async fn find_one(
        &self,
        collection: &'static str,
        filter: Document,
    ) -> Result<Option<Document>, StorageError> {
        let documents = self.collection(collection);
        let finding = documents.find_one(filter);
        self.connection.run("find", collection, finding).await
    }

    /// A record of one of the collections that hold records.
    async fn by_id<T: DeserializeOwned>(
        &self,
        collection: &'static str,
        id: String,
    ) -> Result<Option<T>, StorageError> {
        let found = self.find_one(collection, doc! { "_id": id }).await?;
        found.map(record).transpose()
    }

    /// [`StorageError::NotFound`] names what is missing.
    async fn must_exist(
        &self,
        collection: &'static str,
        what: &str,
        id: String,
    ) -> Result<(), StorageError> {
        let documents = self.collection(collection);
        let finding = documents
            .find_one(doc! { "_id": &id })
            .projection(doc! { "_id": 1 });
        let found = self.connection.run("find", collection, finding).await?;
        match found {
            Some(_) => Ok(()),
            None => Err(StorageError::NotFound(format!("{what} {id}"))),
        }
    }

    async fn find(
        &self,
        collection: &'static str,
        filter: Document,
        query: Query,
    ) -> Result<Vec<Document>, StorageError> {
        if query.most == Some(0) {
            // To MongoDB it would be no limit.
            return Ok(vec![]);
        }
        let documents = self.collection(collection);
        let mut finding = documents.find(filter).sort(query.sort);
        if let Some(fields) = query.fields {
            finding = finding.projection(fields);
        }
        if let Some(most) = query.most {
            // Older servers read no more than 32 bits of it.
            let most = i32::try_from(most).unwrap_or(i32::MAX);
            // All of it in the first answer.
            finding = finding
                .limit(most.into())
                .batch_size(most.unsigned_abs().saturating_add(1));
        }
        let finding = async { finding.await?.try_collect().await };
        self.connection.run("find", collection, finding).await
    }

    async fn newest<T: DeserializeOwned>(
        &self,
        collection: &'static str,
        filter: Document,
        most: usize,
    ) -> Result<Vec<T>, StorageError> {
        let query = Query::sorted(doc! { "created": -1, "_id": -1 }).at_most(most);
        records(self.find(collection, filter, query).await?)
    }

    // Writing

    /// Records what is not recorded yet.
    async fn insert_once<T: Serialize>(
        &self,
        collection: &'static str,
        record: &T,
    ) -> Result<(), StorageError> {
        let mut fields = document(record)?;
        let id = fields.remove("_id");
        let update = doc! { "$setOnInsert": fields };
        self.upsert(collection, id.unwrap_or(Bson::Null), update)
            .await
    }

    async fn upsert(
        &self,
        collection: &'static str,
        id: impl Into<Bson>,
        update: Document,
    ) -> Result<(), StorageError> {
        let documents = self.collection(collection);
        let id = id.into();
        let attempt = || {
            documents
                .update_one(doc! { "_id": &id }, update.clone())
                .upsert(true)
        };
        let upserting = self.connection.upsert("update", collection, attempt);
        upserting.await.map(drop)
    }

    /// Writes the document over one of the same `_id`.
    async fn replace(
        &self,
        collection: &'static str,
        document: Document,
    ) -> Result<(), StorageError> {
        let documents = self.collection(collection);
        let id = document.get("_id").cloned().unwrap_or(Bson::Null);
        let attempt = || {
            documents
                .replace_one(doc! { "_id": &id }, &document)
                .upsert(true)
        };
        let replacing = self.connection.upsert("update", collection, attempt);
        replacing.await.map(drop)
    }

    /// Whether a document matched.
    async fn update(
        &self,
        collection: &'static str,
        filter: Document,
        update: Document,
    ) -> Result<bool, StorageError> {
        let documents = self.collection(collection);
        let updating = documents.update_one(filter, update);
        let updated = self.connection.run("update", collection, updating).await?;
        Ok(updated.matched_count > 0)
    }

    /// Changes a job that is in the state; [`StorageError::NotFound`] where there is
    /// no such job.
    async fn change_job(
        &self,
        id: JobId,
        state: JobState,
        set: Document,
    ) -> Result<(), StorageError> {
        let in_state = doc! { "_id": id.to_string(), "state": name_of(state) };
        self.change_job_where(id, in_state, doc! { "$set": set })
            .await
    }

    /// Changes a job that is as it was settled.
    async fn change_settled(
        &self,
        id: JobId,
        settled: Settled,
        set: Document,
    ) -> Result<(), StorageError> {
        let as_settled = doc! {
            "_id": id.to_string(),
            "state": name_of(JobState::Running),
            "reopened": settled.reopened,
        };
        self.change_job_where(id, as_settled, doc! { "$set": set })
            .await
    }

    async fn change_job_where(
        &self,
        id: JobId,
        filter: Document,
        update: Document,
    ) -> Result<(), StorageError> {
        if self.update(JOBS, filter, update).await? {
            return Ok(());
        }
        self.must_exist(JOBS, "job", id.to_string()).await
    }

    /// Puts `now` in the place of the lease that was seen, if it is still so.
    async fn exchange(&self, seen: &Lease, now: Lease) -> Result<Option<Lease>, StorageError> {
        let changed = self.update(LEASES, as_seen(seen)?, exchanged(&now)?);
        Ok(changed.await?.then_some(now))
    }

    async fn was_offered(&self, work: &Work) -> Result<bool, StorageError> {
        let key = doc! { "_id": work_key(work) };
        Ok(self.find_one(LEASES, key).await?.is_some())
    }

    /// Work that was offered, done or not, is free: whoever holds it loses it.
    async fn reopen_work(&self, work: &Work) -> Result<(), StorageError> {
        self.free(doc! { "_id": work_key(work) }).await
    }

    async fn free(&self, lease: Document) -> Result<(), StorageError> {
        let free = doc! { "owner": Bson::Null, "failures": 0_i64, "done": false };
        let update = doc! { "$set": free, "$inc": { "beat": 1_i64 } };
        self.update(LEASES, lease, update).await.map(drop)
    }

    /// An expanded job is to be frozen once more, by whoever sees it settled from now on.
    async fn reopen_freezing(&self, job: JobId) -> Result<(), StorageError> {
        let freezing = Work::Freeze(job);
        if !self.was_offered(&freezing).await? {
            return Ok(());
        }
        let states = [JobState::Running, JobState::Frozen, JobState::Failed].map(name_of);
        let expanded = doc! { "_id": job.to_string(), "state": { "$in": states.to_vec() } };
        let update = doc! {
            "$set": { "state": name_of(JobState::Running) },
            "$unset": { "error": "" },
            "$inc": { "reopened": 1_i64 },
        };
        self.update(JOBS, expanded, update).await?;
        // The job first: whoever ends the freezing before this has not ended it.
        self.reopen_work(&freezing).await
    }

    // Facts

    /// Of these candidates, those that ended as stored.
    async fn stored_among(
        &self,
        candidates: Vec<String>,
    ) -> Result<BTreeSet<CandidateId>, StorageError> {
        let stored = CandidateState::Stored.as_str();
        let filter = doc! { "_id": { "$in": candidates }, "state": stored };
        let query = Query::sorted(doc! {}).only(doc! { "_id": 1 });
        let found = self.find(CANDIDATES, filter, query).await?;
        let ids = found.iter().map(|candidate| {
            let id = candidate.get_str("_id").map_err(damaged)?;
            id.parse().map_err(damaged)
        });
        ids.collect()
    }

    /// What the job's candidates say that they show, those whose image is one from
    /// `first` to `last`.
    async fn labels_between(
        &self,
        job: JobId,
        first: ImageId,
        last: ImageId,
    ) -> Result<HashMap<ImageId, Vec<(CandidateId, Label)>>, StorageError> {
        #[derive(Deserialize)]
        struct Said {
            id: CandidateId,
            image: ImageId,
            label: Option<Label>,
        }
        let between = doc! { "$gte": first.to_string(), "$lte": last.to_string() };
        let filter = doc! { "job": job.to_string(), "image": between };
        let query = Query::sorted(doc! {}).only(doc! { "image": 1, "label": 1 });
        let mut labels: HashMap<_, Vec<_>> = HashMap::new();
        for found in self.find(CANDIDATES, filter, query).await? {
            let said: Said = record(found)?;
            if let Some(label) = said.label {
                labels.entry(said.image).or_default().push((said.id, label));
            }
        }
        Ok(labels)
    }

    /// Facts of those of the images, sorted by id, whose candidates ended as stored.
    async fn facts_among(
        &self,
        job: JobId,
        images: Vec<Described>,
    ) -> Result<Vec<ImageFacts>, StorageError> {
        let (Some(first), Some(last)) = (images.first(), images.last()) else {
            return Ok(vec![]);
        };
        let candidates = images.iter().map(|i| i.candidate.to_string()).collect();
        let (stored, labels) = try_join(
            self.stored_among(candidates),
            self.labels_between(job, first.image, last.image),
        )
        .await?;
        let stored = images
            .into_iter()
            .filter(|image| stored.contains(&image.candidate));
        let facts = stored.map(|image| {
            let said = labels.get(&image.image).into_iter().flatten();
            let conflicting: BTreeSet<&Label> = said
                .filter(|(candidate, label)| *candidate != image.candidate && *label != image.label)
                .map(|(_, label)| label)
                .collect();
            let conflicting = conflicting.into_iter().cloned().collect();
            image.facts(conflicting)
        });
        Ok(facts.collect())
    }
}

/// How to find, besides the filter.
struct Query {
    sort: Document,
    fields: Option<Document>,
    most: Option<usize>,
}

impl Query {
    fn sorted(sort: Document) -> Self {
        Self {
            sort,
            fields: None,
            most: None,
        }
    }

    fn only(self, fields: Document) -> Self {
        Self {
            fields: Some(fields),
            ..self
        }
    }

    fn at_most(self, most: usize) -> Self {
        Self {
            most: Some(most),
            ..self
        }
    }
}

/// As it is serialized.
fn name_of(state: JobState) -> &'static str {
    match state {
        JobState::Expanding => "expanding",
        JobState::Running => "running",
        JobState::Frozen => "frozen",
        JobState::Failed => "failed",
    }
}

#[async_trait]
impl Catalog for MongodbCatalog {
    async fn ping(&self) -> Result<(), StorageError> {
        self.connection.ping().await
    }

    async fn create_job(&self, job: &Job) -> Result<(), StorageError> {
        let mut job = document(job)?;
        job.insert("reopened", 0_i64);
        self.insert_once(JOBS, &job).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError> {
        self.by_id(JOBS, id.to_string()).await
    }

    async fn jobs(&self, most: usize) -> Result<Vec<Job>, StorageError> {
        self.newest(JOBS, doc! {}, most).await
    }

    async fn finish_expansion(&self, job: JobId) -> Result<(), StorageError> {
        let set = doc! { "state": name_of(JobState::Running) };
        self.change_job(job, JobState::Expanding, set).await
    }

    async fn fail_job(&self, job: JobId, error: &str) -> Result<(), StorageError> {
        let set = doc! { "state": name_of(JobState::Failed), "error": error };
        self.change_job(job, JobState::Expanding, set).await
    }

    async fn reopen_expansion(&self, job: JobId, letter: &str) -> Result<(), StorageError> {
        if self.was_offered(&Work::Freeze(job)).await? {
            return Ok(());
        }
        let failed = doc! { "_id": job.to_string(), "state": name_of(JobState::Failed) };
        let expanding = doc! { "state": name_of(JobState::Expanding), "replayed": letter };
        let update = doc! { "$set": expanding, "$unset": { "error": "" } };
        self.change_job_where(job, failed, update).await
    }

    async fn add_candidates(&self, candidates: &[NewCandidate]) -> Result<(), StorageError> {
        let collection = self.collection(CANDIDATES);
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
            self.open_page(job, &page).await?;
            let new = self.connection.run("insert", CANDIDATES, inserting).await?;
            self.open_recorded(job, &page, new).await?;
            self.close_pages(job, &page).await?;
        }
        Ok(())
    }

    async fn candidate(&self, id: CandidateId) -> Result<Option<Candidate>, StorageError> {
        self.by_id(CANDIDATES, id.to_string()).await
    }

    async fn candidates_of(&self, image: &ImageId) -> Result<Vec<Candidate>, StorageError> {
        let filter = doc! { "image": image.to_string() };
        let query = Query::sorted(doc! { "_id": 1 });
        records(self.find(CANDIDATES, filter, query).await?)
    }

    async fn candidates_in(
        &self,
        job: JobId,
        state: CandidateState,
        after: Option<CandidateId>,
        most: usize,
    ) -> Result<Vec<Candidate>, StorageError> {
        let mut filter = doc! { "job": job.to_string(), "state": state.as_str() };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after.to_string() });
        }
        let query = Query::sorted(doc! { "_id": 1 }).at_most(most);
        records(self.find(CANDIDATES, filter, query).await?)
    }

    async fn claim_image(
        &self,
        job: JobId,
        image: &ImageId,
        candidate: CandidateId,
    ) -> Result<CandidateId, StorageError> {
        let claims = self.collection(CLAIMS);
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
        let claiming = self.connection.upsert("findAndModify", CLAIMS, attempt);
        let found = claiming.await?.ok_or_else(|| damaged("a lost claim"))?;
        let first = found.get_str("candidate").map_err(damaged)?;
        first.parse().map_err(damaged)
    }

    async fn end_candidate(&self, ending: &Ending) -> Result<CandidateState, StorageError> {
        let update = documents::end(ending)?;
        if self.update(CANDIDATES, ends(ending), update).await? {
            return Ok(ending.end.state());
        }
        let id = ending.candidate;
        let found: Option<Candidate> = self.by_id(CANDIDATES, id.to_string()).await?;
        found
            .map(|candidate| candidate.state)
            .ok_or_else(|| StorageError::NotFound(format!("candidate {id}")))
    }

    async fn reopen_candidates(
        &self,
        job: JobId,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError> {
        let collection = self.collection(CANDIDATES);
        for batch in candidates.chunks(BATCH) {
            let ids: Vec<_> = batch.iter().map(ToString::to_string).collect();
            let [failed, in_flight] =
                [CandidateState::Failed, CandidateState::InFlight].map(CandidateState::as_str);
            let mut open = doc! {
                "_id": { "$in": ids },
                "job": job.to_string(),
                "state": { "$in": [failed, in_flight] },
            };
            let pages = self.pages_of(open.clone()).await?;
            if pages.is_empty() {
                continue;
            }
            // The job before and after. Before: a death in between must not leave one
            // that stays frozen though a candidate is in flight. After: by then it may
            // have been frozen again, without them.
            self.reopen_freezing(job).await?;
            let opening = || try_join_all(pages.iter().map(|page| self.open_page(job, page)));
            opening().await?;
            open.insert("state", failed);
            let update = doc! {
                "$set": { "state": in_flight },
                "$unset": { "stage": "", "error": "" },
            };
            let reopening = collection.update_many(open, update);
            self.connection.run("update", CANDIDATES, reopening).await?;
            opening().await?;
            self.reopen_freezing(job).await?;
        }
        Ok(())
    }

    async fn books(&self, job: JobId) -> Result<Books, StorageError> {
        self.count_books(job).await
    }

    async fn settled(&self, job: JobId) -> Result<Option<Settled>, StorageError> {
        // The job first: once it is running no candidate is added any more.
        let running = doc! { "_id": job.to_string(), "state": name_of(JobState::Running) };
        let Some(running) = self.find_one(JOBS, running).await? else {
            return Ok(None);
        };
        let in_flight = CandidateState::InFlight.as_str();
        let filter = doc! { "job": job.to_string(), "state": in_flight };
        let query = Query::sorted(doc! {}).only(doc! { "_id": 1 }).at_most(1);
        if !self.find(CANDIDATES, filter, query).await?.is_empty() {
            return Ok(None);
        }
        let reopened = running.get_i64("reopened").map_err(damaged)?;
        Ok(Some(Settled { reopened }))
    }

    async fn put_image(&self, image: &ImageDocument) -> Result<(), StorageError> {
        self.replace(IMAGES, documents::image_document(image)?)
            .await
    }

    async fn image_facts(
        &self,
        job: JobId,
        after: Option<&ImageId>,
        most: usize,
    ) -> Result<Vec<ImageFacts>, StorageError> {
        let mut facts = vec![];
        let mut after = after.copied();
        // Images whose candidates are not stored leave gaps: read on until it is full.
        while facts.len() < most {
            let wanted = (most - facts.len()).min(FACTS);
            let filter = doc! { "_id": image_keys(job, after.as_ref()) };
            let query = Query::sorted(doc! { "_id": 1 })
                .only(doc! { "binary": 0 })
                .at_most(wanted);
            let page = self.find(IMAGES, filter, query).await?;
            let page: Vec<Described> = records(page)?;
            let is_last = page.len() < wanted;
            after = page.last().map(|image| image.image);
            facts.extend(self.facts_among(job, page).await?);
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
        let collection = self.collection(IMAGES);
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
            self.connection.run("find", IMAGES, reading).await?;
        }
        let in_order = images.iter().map(|image| {
            let missing = || StorageError::NotFound(format!("image {image} of job {job}"));
            let bytes = found.get(&image_key(job, image)).cloned();
            bytes.ok_or_else(missing)
        });
        in_order.collect()
    }

    async fn image(
        &self,
        job: JobId,
        image: &ImageId,
    ) -> Result<Option<ImageDocument>, StorageError> {
        let key = doc! { "_id": image_key(job, image) };
        let found = self.find_one(IMAGES, key).await?;
        found.map(documents::image).transpose()
    }

    async fn offer(&self, work: &Work) -> Result<(), StorageError> {
        let update = doc! { "$setOnInsert": free_work(work) };
        self.upsert(LEASES, work_key(work), update).await
    }

    async fn open_work(&self, kind: &str) -> Result<Vec<Lease>, StorageError> {
        let filter = doc! { "kind": kind, "done": false };
        let query = Query::sorted(doc! { "id": 1 });
        let open = self.find(LEASES, filter, query).await?;
        open.into_iter().map(documents::lease).collect()
    }

    async fn take(&self, seen: &Lease, owner: &str) -> Result<Option<Lease>, StorageError> {
        self.exchange(seen, seen.taken_by(owner)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Option<Lease>, StorageError> {
        self.exchange(lease, lease.renewed()).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StorageError> {
        self.exchange(lease, lease.released()).await.map(drop)
    }

    async fn finish(&self, lease: &Lease) -> Result<bool, StorageError> {
        let done = doc! { "$set": { "done": true } };
        self.update(LEASES, as_seen(lease)?, done).await
    }

    async fn freeze(
        &self,
        job: JobId,
        dataset: &Dataset,
        settled: Settled,
    ) -> Result<(), StorageError> {
        // The dataset first: a job that is frozen has one.
        self.insert_once(DATASETS, dataset).await?;
        let set = doc! { "state": name_of(JobState::Frozen), "dataset": dataset.id.to_string() };
        self.change_settled(job, settled, set).await
    }

    async fn fail_settled(
        &self,
        job: JobId,
        error: &str,
        settled: Settled,
    ) -> Result<(), StorageError> {
        let set = doc! { "state": name_of(JobState::Failed), "error": error };
        self.change_settled(job, settled, set).await
    }

    async fn dataset(&self, id: &DatasetId) -> Result<Option<Dataset>, StorageError> {
        self.by_id(DATASETS, id.to_string()).await
    }

    async fn datasets(&self, most: usize) -> Result<Vec<Dataset>, StorageError> {
        self.newest(DATASETS, doc! {}, most).await
    }

    async fn create_run(&self, run: &Run) -> Result<(), StorageError> {
        self.insert_once(RUNS, run).await
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>, StorageError> {
        self.by_id(RUNS, id.to_string()).await
    }

    async fn runs(
        &self,
        dataset: Option<&DatasetId>,
        most: usize,
    ) -> Result<Vec<Run>, StorageError> {
        let filter = match dataset {
            Some(dataset) => doc! { "dataset": dataset.to_string() },
            None => doc! {},
        };
        self.newest(RUNS, filter, most).await
    }

    async fn update_run(&self, run: &Run) -> Result<(), StorageError> {
        let mut fields = document(run)?;
        let progress = ["state", "error", "epoch", "accuracy", "loss", "device"]
            .map(|name| (name, fields.remove(name)));
        let filter = doc! { "_id": run.id.to_string() };
        if self.update(RUNS, filter, replace_fields(progress)).await? {
            return Ok(());
        }
        self.must_exist(RUNS, "run", run.id.to_string()).await
    }

    async fn reopen_run(&self, id: RunId) -> Result<(), StorageError> {
        let run: Option<Run> = self.by_id(RUNS, id.to_string()).await?;
        let run = run.ok_or_else(|| StorageError::NotFound(format!("run {id}")))?;
        let training = Work::Train(id);
        match run.state {
            RunState::Failed => {
                self.update_run(&run.reopened()).await?;
                // The run first: whoever ends the work before this has not ended it.
                self.reopen_work(&training).await
            }
            // Where whoever opened it died in the middle of it.
            RunState::Open => {
                self.free(doc! { "_id": work_key(&training), "done": true })
                    .await
            }
            RunState::Done => Ok(()),
        }
    }

    async fn publish_model(&self, model: &Model) -> Result<(), StorageError> {
        self.replace(MODELS, document(model)?).await
    }

    async fn model(&self, id: RunId) -> Result<Option<Model>, StorageError> {
        self.by_id(MODELS, id.to_string()).await
    }

    async fn models(&self, most: usize) -> Result<Vec<Model>, StorageError> {
        self.newest(MODELS, doc! {}, most).await
    }
}
