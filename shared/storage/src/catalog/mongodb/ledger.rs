//! The books of a job, counted page by page.
//!
//! Candidates that are recorded together are a page. As long as one of them is in flight
//! a page is *open*, and its candidates are counted whenever somebody asks. When all have
//! ended it is *closed*: its counts are written into its document in the ledger, and
//! nobody looks at its candidates again. So the books of a job cost one small document
//! for each thousand candidates, and the thousands that are on their way.
//!
//! No transaction holds a page and its candidates together. Whatever puts candidates in
//! flight opens their page before and after, which also counts its `revision` up; who
//! closes it does so only at the revision that he knew before he counted. So a count that
//! has missed something is never written, or is thrown away at once. Whoever dies in
//! between leaves work that is done again, opening included.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use maskline_messages::JobId;
use mongodb::bson::{Bson, Document, deserialize_from_document, doc, serialize_to_bson};
use serde::{Deserialize, Serialize};

use super::{
    BATCH, MongodbCatalog, Query,
    documents::damaged,
    schema::{CANDIDATES, LEDGER},
};
use crate::{
    error::StorageError,
    records::{Books, CandidateState},
};

/// Pages that one who adds candidates tries to close: he has added one.
const TRIED: usize = 32;

/// Pages that are closed at the same time.
const CLOSING: usize = 16;

/// So many candidates of a page are in this state, rejected for this reason.
#[derive(Debug, Serialize, Deserialize)]
struct Count {
    state: CandidateState,
    reason: Option<String>,
    candidates: u64,
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "_id")]
    id: String,
    revision: i64,
    /// `None`: it is open.
    counts: Option<Vec<Count>>,
}

impl MongodbCatalog {
    /// Before and after candidates of it are put in flight.
    pub(super) async fn open_page(&self, job: JobId, page: &str) -> Result<(), StorageError> {
        let update = doc! {
            "$set": { "job": job.to_string(), "open": true },
            "$unset": { "counts": "" },
            "$inc": { "revision": 1_i64 },
        };
        self.upsert(LEDGER, page, update).await
    }

    /// The pages that these candidates are on.
    pub(super) async fn pages_of(
        &self,
        candidates: Document,
    ) -> Result<BTreeSet<String>, StorageError> {
        let query = Query::sorted(doc! {}).only(doc! { "page": 1 });
        let found = self.find(CANDIDATES, candidates, query).await?;
        let pages = found
            .iter()
            .map(|candidate| candidate.get_str("page").map(str::to_owned));
        pages.collect::<Result<_, _>>().map_err(damaged)
    }

    /// Closes pages of which all candidates have ended, of those that come after `page`.
    /// Ids are hashes: each page's turn comes.
    pub(super) async fn close_pages(&self, job: JobId, page: &str) -> Result<(), StorageError> {
        let open = doc! { "job": job.to_string(), "open": true, "_id": { "$gt": page } };
        let query = Query::sorted(doc! { "_id": 1 }).at_most(TRIED);
        self.count(self.find(LEDGER, open, query).await?)
            .await
            .map(drop)
    }

    pub(super) async fn count_books(&self, job: JobId) -> Result<Books, StorageError> {
        let pages = doc! { "job": job.to_string() };
        let pages = self.find(LEDGER, pages, Query::sorted(doc! {})).await?;
        let mut books = Books::default();
        for count in self.count(pages).await? {
            books.count(count.state, count.reason.as_deref(), count.candidates);
        }
        Ok(books)
    }

    /// What is on the pages. Those that have ended are closed.
    async fn count(&self, pages: Vec<Document>) -> Result<Vec<Count>, StorageError> {
        let (mut counts, mut open) = (vec![], vec![]);
        for page in pages {
            let page: Page = deserialize_from_document(page).map_err(damaged)?;
            match page.counts {
                Some(counted) => counts.extend(counted),
                None => open.push((page.id, page.revision)),
            }
        }
        for pages in open.chunks(BATCH) {
            let mut counted = self.count_candidates(pages).await?;
            let ended = pages.iter().filter_map(|(id, revision)| {
                let counts = counted.get(id)?;
                let in_flight = |count: &Count| count.state == CandidateState::InFlight;
                (!counts.iter().any(in_flight)).then_some((id, *revision, counts))
            });
            let closing = ended.map(|(id, revision, counts)| self.close(id, revision, counts));
            stream::iter(closing.collect::<Vec<_>>())
                .buffer_unordered(CLOSING)
                .try_collect::<()>()
                .await?;
            counts.extend(counted.values_mut().flat_map(std::mem::take));
        }
        Ok(counts)
    }

    /// By page; those without a candidate are not there.
    async fn count_candidates(
        &self,
        pages: &[(String, i64)],
    ) -> Result<BTreeMap<String, Vec<Count>>, StorageError> {
        #[derive(Deserialize)]
        struct Group {
            #[serde(rename = "_id")]
            key: Key,
            candidates: u64,
        }
        #[derive(Deserialize)]
        struct Key {
            page: String,
            state: CandidateState,
            reason: Option<String>,
        }
        let pages: Vec<&str> = pages.iter().map(|(id, _)| id.as_str()).collect();
        let pipeline = [
            doc! { "$match": { "page": { "$in": pages } } },
            doc! { "$group": {
                "_id": { "page": "$page", "state": "$state", "reason": "$reason.code" },
                "candidates": { "$sum": 1 },
            } },
        ];
        let collection = self.collection(CANDIDATES);
        let counting = async { collection.aggregate(pipeline).await?.try_collect().await };
        let counting = self.connection.run("aggregate", CANDIDATES, counting);
        let groups: Vec<Document> = counting.await?;
        let mut counts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for group in groups {
            let Group { key, candidates } = deserialize_from_document(group).map_err(damaged)?;
            counts.entry(key.page).or_default().push(Count {
                state: key.state,
                reason: key.reason,
                candidates,
            });
        }
        Ok(counts)
    }

    /// Unless it was opened since `revision`.
    async fn close(&self, page: &str, revision: i64, counts: &[Count]) -> Result<(), StorageError> {
        let as_counted = doc! { "_id": page, "revision": revision, "open": true };
        let counts: Bson = serialize_to_bson(counts).map_err(damaged)?;
        let closed = doc! { "$set": { "open": false, "counts": counts } };
        self.update(LEDGER, as_counted, closed).await.map(drop)
    }
}
