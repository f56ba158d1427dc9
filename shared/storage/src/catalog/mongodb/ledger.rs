//! The counts of a job's candidates, page by page.
//!
//! Candidates that are recorded together are a page. As long as one of them is in flight, the
//! page is *open*: its finished candidates are counted whenever somebody asks, and the rest of
//! its size is in flight. When all are finished, the page is *closed*: its counts are written
//! into its document in the ledger, and its candidates are not read again. So the counts of a
//! job cost one small document for each thousand candidates, and a query over the open pages.
//!
//! No transaction covers a page and its candidates. A process that puts candidates in flight
//! opens their page before and after, and each opening counts the page's `revision` up.
//! A page is closed only at the revision that was read before its candidates were counted. So a
//! count that missed a candidate is never written, or is removed at once. If a process
//! dies in between, its work is done again, the opening included.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use maskline_messages::JobId;
use mongodb::bson::{Bson, Document, deserialize_from_document, doc, serialize_to_bson};
use serde::{Deserialize, Serialize};

use super::{
    database::{BATCH, Database, Query},
    documents::damaged,
    schema::{CANDIDATES, LEDGER},
};
use crate::{
    error::StorageError,
    records::{CandidateState, Counts},
};

/// The most pages that are checked, and closed if they are finished, when a page is added.
const MAX_CHECKED: usize = 32;

/// The number of pages that are closed at the same time.
const CLOSING: usize = 16;

/// The number of a page's candidates that are in a state, and were rejected for a reason.
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
    /// How many candidates it has. `None` while they are being recorded, and if the process
    /// that recorded them died.
    size: Option<u64>,
    /// `None` if the page is open.
    counts: Option<Vec<Count>>,
}

/// The ledger of all jobs in a database.
pub(super) struct Ledger<'a> {
    database: &'a Database,
}

impl<'a> Ledger<'a> {
    pub fn of(database: &'a Database) -> Self {
        Self { database }
    }

    /// Opens a page. This is called before and after candidates of it are put in flight.
    pub async fn open_page(&self, job: JobId, page: &str) -> Result<(), StorageError> {
        self.reopen(page, doc! { "job": job.to_string(), "open": true })
            .await
    }

    /// Opens a page after candidates of it were recorded. `new` is their number if all of
    /// them are new, and `None` if some were there before.
    pub async fn open_recorded(
        &self,
        job: JobId,
        page: &str,
        new: Option<usize>,
    ) -> Result<(), StorageError> {
        let size = match new {
            Some(new) => new as u64,
            None => self.size_of(page).await?,
        };
        let size = serialize_to_bson(&size).map_err(damaged)?;
        self.reopen(
            page,
            doc! { "job": job.to_string(), "open": true, "size": size },
        )
        .await
    }

    async fn size_of(&self, page: &str) -> Result<u64, StorageError> {
        let candidates = self.database.collection(CANDIDATES);
        let counting = candidates.count_documents(doc! { "page": page });
        self.database
            .connection
            .run("count", CANDIDATES, counting)
            .await
    }

    async fn reopen(&self, page: &str, set: Document) -> Result<(), StorageError> {
        let update = doc! {
            "$set": set,
            "$unset": { "counts": "" },
            "$inc": { "revision": 1_i64 },
        };
        self.database.upsert(LEDGER, page, update).await
    }

    /// The pages that these candidates are on.
    pub async fn pages_of(&self, candidates: Document) -> Result<BTreeSet<String>, StorageError> {
        let query = Query::sorted(doc! {}).only(doc! { "page": 1 });
        let found = self.database.find(CANDIDATES, candidates, query).await?;
        let pages = found
            .iter()
            .map(|candidate| candidate.get_str("page").map(str::to_owned));
        pages.collect::<Result<_, _>>().map_err(damaged)
    }

    /// Closes finished pages among those that come after `page`. Ids are hashes, so in time
    /// every page is among them.
    pub async fn close_pages(&self, job: JobId, page: &str) -> Result<(), StorageError> {
        let open = doc! { "job": job.to_string(), "open": true, "_id": { "$gt": page } };
        let query = Query::sorted(doc! { "_id": 1 }).limit(MAX_CHECKED);
        self.count(self.database.find(LEDGER, open, query).await?)
            .await
            .map(drop)
    }

    pub async fn counts(&self, job: JobId) -> Result<Counts, StorageError> {
        let pages = doc! { "job": job.to_string() };
        let pages = self
            .database
            .find(LEDGER, pages, Query::sorted(doc! {}))
            .await?;
        let mut counts = Counts::default();
        for count in self.count(pages).await? {
            counts.add(count.state, count.reason.as_deref(), count.candidates);
        }
        Ok(counts)
    }

    /// Counts the candidates on the pages, and closes the finished pages.
    async fn count(&self, pages: Vec<Document>) -> Result<Vec<Count>, StorageError> {
        let (mut counts, mut open) = (vec![], vec![]);
        for page in pages {
            let page: Page = deserialize_from_document(page).map_err(damaged)?;
            match page.counts {
                Some(counted) => counts.extend(counted),
                None => open.push(page),
            }
        }
        for pages in open.chunks(BATCH) {
            let mut counted = self.count_finished(pages).await?;
            let mut closing = vec![];
            for page in pages {
                let finished = counted.remove(&page.id).unwrap_or_default();
                let size = match page.size {
                    Some(size) => size,
                    None => self.size_of(&page.id).await?,
                };
                let all_finished: u64 = finished.iter().map(|count| count.candidates).sum();
                let in_flight = size.saturating_sub(all_finished);
                if in_flight == 0 && page.size.is_some() {
                    closing.push(self.close(page, &finished)?);
                }
                counts.push(Count {
                    state: CandidateState::InFlight,
                    reason: None,
                    candidates: in_flight,
                });
                counts.extend(finished);
            }
            let closing = stream::iter(closing).buffer_unordered(CLOSING);
            closing.try_collect::<()>().await?;
        }
        Ok(counts)
    }

    /// Counts the finished candidates of each page. A page without any is left out.
    async fn count_finished(
        &self,
        pages: &[Page],
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
        let pages: Vec<&str> = pages.iter().map(|page| page.id.as_str()).collect();
        let finished = CandidateState::FINISHED.map(CandidateState::as_str);
        let pipeline = [
            doc! { "$match": { "page": { "$in": pages }, "state": { "$in": finished.to_vec() } } },
            doc! { "$group": {
                "_id": { "page": "$page", "state": "$state", "reason": "$reason.code" },
                "candidates": { "$sum": 1 },
            } },
        ];
        let collection = self.database.collection(CANDIDATES);
        let counting = async { collection.aggregate(pipeline).await?.try_collect().await };
        let counting = self
            .database
            .connection
            .run("aggregate", CANDIDATES, counting);
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

    /// Closes a page, unless it was opened since it was read.
    fn close(
        &self,
        page: &Page,
        counts: &[Count],
    ) -> Result<impl Future<Output = Result<(), StorageError>> + use<'_>, StorageError> {
        let as_seen = doc! { "_id": &page.id, "revision": page.revision, "open": true };
        let counts: Bson = serialize_to_bson(counts).map_err(damaged)?;
        let closed = doc! { "$set": { "open": false, "counts": counts } };
        Ok(async move {
            self.database
                .update(LEDGER, as_seen, closed)
                .await
                .map(drop)
        })
    }
}
