//! The quotas' table.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::{
    SqliteCatalog,
    database::Failure,
    rows::{json, parse},
};
use crate::{
    catalog::quotas::Quotas,
    error::StorageError,
    records::{KEPT_IDLE, Quota, QuotaState, Share, ShareLimit, ShareRequest, Turn},
};

/// The most states that are forgotten when a new key comes.
const FORGOTTEN: i64 = 16;

#[async_trait]
impl Quotas for SqliteCatalog {
    async fn take_turn(&self, key: &str, quota: &Quota, now: u64) -> Result<Turn, StorageError> {
        let (key, quota) = (key.to_owned(), quota.clone());
        self.write("update", "quotas", move |connection| {
            change(connection, &key, now, |state| state.take_turn(&quota, now))
        })
        .await
    }

    async fn share(
        &self,
        key: &str,
        limit: &ShareLimit,
        request: &ShareRequest,
        now: u64,
    ) -> Result<Share, StorageError> {
        let (key, limit, request) = (key.to_owned(), *limit, request.clone());
        self.write("update", "quotas", move |connection| {
            change(connection, &key, now, |state| {
                state.share(&limit, &request, now)
            })
        })
        .await
    }

    async fn hold_off(&self, key: &str, pause: Duration, now: u64) -> Result<(), StorageError> {
        let key = key.to_owned();
        self.write("update", "quotas", move |connection| {
            change(connection, &key, now, |state| state.hold_off(pause, now))
        })
        .await
    }
}

/// Changes the state of a key. If it stays as it was, nothing is written, so that asking in
/// vain costs no commit.
fn change<T>(
    connection: &Connection,
    key: &str,
    now: u64,
    change: impl FnOnce(&mut QuotaState) -> T,
) -> Result<T, Failure> {
    let mut select = connection.prepare_cached("SELECT state FROM quotas WHERE key = ?1")?;
    let mut rows = select.query([key])?;
    let before: Option<QuotaState> = match rows.next()? {
        Some(row) => Some(parse(&row.get::<_, String>(0)?)?),
        None => None,
    };
    let mut state = before.clone().unwrap_or_default();
    let answer = change(&mut state);
    if before.as_ref() != Some(&state) {
        connection
            .prepare_cached(
                "INSERT INTO quotas (key, idle_from, state) VALUES (?1, ?2, ?3)
                 ON CONFLICT (key) DO UPDATE SET idle_from = ?2, state = ?3",
            )?
            .execute(params![key, state.idle_from(), json(&state)?])?;
    }
    if before.is_none() {
        connection
            .prepare_cached(
                "DELETE FROM quotas WHERE key IN
                 (SELECT key FROM quotas WHERE idle_from < ?1 AND key != ?2 LIMIT ?3)",
            )?
            .execute(params![now.saturating_sub(KEPT_IDLE), key, FORGOTTEN])?;
    }
    Ok(answer)
}
