//! The leases' collection.

use async_trait::async_trait;
use mongodb::bson::{Bson, Document, deserialize_from_document, doc};
use serde::Deserialize;

use super::{
    MongodbCatalog,
    database::{Database, Query},
    documents::{bson, damaged},
    schema::LEASES,
};
use crate::{
    catalog::leases::Leases,
    error::StorageError,
    records::{Lease, Work},
};

#[async_trait]
impl Leases for MongodbCatalog {
    async fn offer_work(&self, work: &Work) -> Result<(), StorageError> {
        let update = doc! { "$setOnInsert": free_work(work) };
        self.database.upsert(LEASES, work_key(work), update).await
    }

    async fn offer_work_again(&self, work: &Work) -> Result<(), StorageError> {
        offer_work_again(&self.database, work).await
    }

    async fn open_work(&self, kind: &str) -> Result<Vec<Lease>, StorageError> {
        let filter = doc! { "kind": kind, "done": false };
        let query = Query::sorted(doc! { "id": 1 });
        let open = self.database.find(LEASES, filter, query).await?;
        open.into_iter().map(lease_of).collect()
    }

    async fn acquire_lease(
        &self,
        seen: &Lease,
        owner: &str,
    ) -> Result<Option<Lease>, StorageError> {
        exchange(&self.database, seen, seen.taken_by(owner)).await
    }

    async fn renew_lease(&self, lease: &Lease) -> Result<Option<Lease>, StorageError> {
        exchange(&self.database, lease, lease.renewed()).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StorageError> {
        exchange(&self.database, lease, lease.released())
            .await
            .map(drop)
    }

    async fn finish_work(&self, lease: &Lease) -> Result<bool, StorageError> {
        let done = doc! { "$set": { "done": true } };
        self.database.update(LEASES, as_seen(lease)?, done).await
    }
}

/// Replaces the lease by `now` if it is still as it was `seen`.
async fn exchange(
    database: &Database,
    seen: &Lease,
    now: Lease,
) -> Result<Option<Lease>, StorageError> {
    let changed = database.update(LEASES, as_seen(seen)?, exchanged(&now)?);
    Ok(changed.await?.then_some(now))
}

/// Frees work, done or not, and offers it if it never was. Its holder loses the lease.
pub(super) async fn offer_work_again(database: &Database, work: &Work) -> Result<(), StorageError> {
    let update = doc! {
        "$setOnInsert": { "kind": work.kind(), "id": work.id() },
        "$set": freed(),
        "$inc": { "beat": 1_i64 },
    };
    database.upsert(LEASES, work_key(work), update).await
}

/// Frees work, done or not, if it was ever offered. Its holder loses the lease.
pub(super) async fn offer_again_if_offered(
    database: &Database,
    work: &Work,
) -> Result<(), StorageError> {
    free(database, doc! { "_id": work_key(work) }).await
}

pub(super) async fn free(database: &Database, lease: Document) -> Result<(), StorageError> {
    let update = doc! { "$set": freed(), "$inc": { "beat": 1_i64 } };
    database.update(LEASES, lease, update).await.map(drop)
}

/// The fields of a lease on work that nobody holds.
fn freed() -> Document {
    doc! { "owner": Bson::Null, "failures": 0_i64, "done": false }
}

pub(super) fn work_key(work: &Work) -> String {
    format!("{}/{}", work.kind(), work.id())
}

/// The document of work that nobody has held yet, without its `_id`.
fn free_work(work: &Work) -> Document {
    doc! {
        "kind": work.kind(),
        "id": work.id(),
        "owner": Bson::Null,
        "beat": 0_i64,
        "failures": 0_i64,
        "done": false,
    }
}

/// A filter for the lease, if nothing has changed since it was seen.
fn as_seen(lease: &Lease) -> Result<Document, StorageError> {
    Ok(doc! {
        "_id": work_key(&lease.work),
        "owner": lease.owner.as_deref(),
        "beat": bson(&lease.beat)?,
        "done": false,
    })
}

/// The update that writes the lease.
fn exchanged(now: &Lease) -> Result<Document, StorageError> {
    Ok(doc! { "$set": {
        "owner": now.owner.as_deref(),
        "beat": bson(&now.beat)?,
        "failures": i64::from(now.failures),
    } })
}

fn lease_of(document: Document) -> Result<Lease, StorageError> {
    #[derive(Deserialize)]
    struct Stored {
        kind: String,
        id: String,
        owner: Option<String>,
        beat: u64,
        failures: u32,
    }
    let stored: Stored = deserialize_from_document(document).map_err(damaged)?;
    Ok(Lease {
        work: Work::named(&stored.kind, &stored.id).map_err(damaged)?,
        owner: stored.owner,
        beat: stored.beat,
        failures: stored.failures,
    })
}
