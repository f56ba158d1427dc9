//! The leases' table.

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::{SqliteCatalog, database::Failure, rows::damaged};
use crate::{
    catalog::leases::Leases,
    error::StorageError,
    records::{Lease, Work},
};

#[async_trait]
impl Leases for SqliteCatalog {
    async fn offer_work(&self, work: &Work) -> Result<(), StorageError> {
        let work = work.clone();
        self.write("insert", "leases", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO leases (kind, id) VALUES (?1, ?2)
                     ON CONFLICT (kind, id) DO NOTHING",
                )?
                .execute(params![work.kind(), work.id()])?;
            Ok(())
        })
        .await
    }

    async fn offer_work_again(&self, work: &Work) -> Result<(), StorageError> {
        let work = work.clone();
        self.write("insert", "leases", move |connection| {
            offer_work_again(connection, &work)
        })
        .await
    }

    async fn open_work(&self, kind: &str) -> Result<Vec<Lease>, StorageError> {
        let kind = kind.to_owned();
        self.read("select", "leases", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT id, owner, beat, failures FROM leases
                 WHERE kind = ?1 AND done = 0 ORDER BY id",
            )?;
            let mut leases = vec![];
            let mut rows = select.query([&kind])?;
            while let Some(row) = rows.next()? {
                let id: String = row.get(0)?;
                leases.push(Lease {
                    work: Work::named(&kind, &id).map_err(damaged)?,
                    owner: row.get(1)?,
                    beat: row.get(2)?,
                    failures: row.get(3)?,
                });
            }
            Ok(leases)
        })
        .await
    }

    async fn acquire_lease(
        &self,
        seen: &Lease,
        owner: &str,
    ) -> Result<Option<Lease>, StorageError> {
        let taken = seen.taken_by(owner);
        let seen = seen.clone();
        self.write("update", "leases", move |connection| {
            exchange(connection, &seen, taken.clone())
        })
        .await
    }

    async fn renew_lease(&self, lease: &Lease) -> Result<Option<Lease>, StorageError> {
        let lease = lease.clone();
        self.write("update", "leases", move |connection| {
            exchange(connection, &lease, lease.renewed())
        })
        .await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StorageError> {
        let lease = lease.clone();
        self.write("update", "leases", move |connection| {
            exchange(connection, &lease, lease.released()).map(drop)
        })
        .await
    }

    async fn finish_work(&self, lease: &Lease) -> Result<bool, StorageError> {
        let lease = lease.clone();
        self.write("update", "leases", move |connection| {
            let finished = connection
                .prepare_cached(
                    "UPDATE leases SET done = 1
                     WHERE kind = ?1 AND id = ?2 AND owner IS ?3 AND beat = ?4 AND done = 0",
                )?
                .execute(params![
                    lease.work.kind(),
                    lease.work.id(),
                    lease.owner,
                    lease.beat
                ])?;
            Ok(finished == 1)
        })
        .await
    }
}

/// Replaces the lease by `now` if it is still as it was `seen`.
fn exchange(connection: &Connection, seen: &Lease, now: Lease) -> Result<Option<Lease>, Failure> {
    let changed = connection
        .prepare_cached(
            "UPDATE leases SET owner = ?1, beat = ?2, failures = ?3
             WHERE kind = ?4 AND id = ?5 AND owner IS ?6 AND beat = ?7 AND done = 0",
        )?
        .execute(params![
            now.owner,
            now.beat,
            now.failures,
            seen.work.kind(),
            seen.work.id(),
            seen.owner,
            seen.beat
        ])?;
    Ok((changed == 1).then_some(now))
}

/// Frees work, done or not, if it was ever offered. Its holder loses the lease.
pub(super) fn offer_again_if_offered(connection: &Connection, work: &Work) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "UPDATE leases SET owner = NULL, beat = beat + 1, failures = 0, done = 0
             WHERE kind = ?1 AND id = ?2",
        )?
        .execute(params![work.kind(), work.id()])?;
    Ok(())
}

/// Frees work, done or not, and offers it if it never was. Its holder loses the lease.
pub(super) fn offer_work_again(connection: &Connection, work: &Work) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO leases (kind, id) VALUES (?1, ?2)
             ON CONFLICT (kind, id) DO UPDATE SET
                 owner = NULL, beat = beat + 1, failures = 0, done = 0",
        )?
        .execute(params![work.kind(), work.id()])?;
    Ok(())
}
