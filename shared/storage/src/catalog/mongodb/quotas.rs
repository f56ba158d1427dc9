//! The quotas' collection.
//!
//! A state is changed in the process and written if nobody else has written it since it was
//! read: each change counts the document's `revision` up. So one of many who change it at the
//! same time succeeds, and the others begin again.

use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Document, deserialize_from_document, doc};
use serde::Deserialize;

use super::{
    MongodbCatalog,
    database::Database,
    documents::{bson, damaged},
    schema::QUOTAS,
};
use crate::{
    catalog::quotas::Quotas,
    error::StorageError,
    records::{KEPT_IDLE, Quota, QuotaState, Share, ShareLimit, ShareRequest, Turn},
};

/// How often a change begins again because others were faster. In each round at least one of
/// them succeeds.
const ROUNDS: u32 = 16;

/// The wait of a caller to whom others did not leave a round.
const CROWDED: Duration = Duration::from_millis(100);

#[async_trait]
impl Quotas for MongodbCatalog {
    async fn take_turn(&self, key: &str, quota: &Quota, now: u64) -> Result<Turn, StorageError> {
        let take = |state: &mut QuotaState| state.take_turn(quota, now);
        let taken = change(&self.database, key, now, take).await?;
        Ok(taken.unwrap_or(Turn::Wait(CROWDED)))
    }

    async fn share(
        &self,
        key: &str,
        limit: &ShareLimit,
        request: &ShareRequest,
        now: u64,
    ) -> Result<Share, StorageError> {
        let give = |state: &mut QuotaState| state.share(limit, request, now);
        let given = change(&self.database, key, now, give).await?;
        Ok(given.unwrap_or(Share {
            places: request.in_hand,
            turns: 0,
            first: CROWDED,
            processes: 1,
            away_elsewhere: 0,
        }))
    }

    async fn hold_off(&self, key: &str, pause: Duration, now: u64) -> Result<(), StorageError> {
        let hold_off = |state: &mut QuotaState| state.hold_off(pause, now);
        let held_off = change(&self.database, key, now, hold_off).await?;
        held_off.ok_or_else(|| {
            StorageError::unavailable(format!("too many processes change the quota {key} at once"))
        })
    }
}

/// Changes the state of a key. If it stays as it was, nothing is written. Returns `None` if
/// others were faster in all rounds.
async fn change<T>(
    database: &Database,
    key: &str,
    now: u64,
    change: impl Fn(&mut QuotaState) -> T,
) -> Result<Option<T>, StorageError> {
    for _ in 0..ROUNDS {
        let Some(found) = database.find_one(QUOTAS, doc! { "_id": key }).await? else {
            make(database, key, now).await?;
            continue;
        };
        let Stored {
            revision,
            state: before,
        } = deserialize_from_document(found).map_err(damaged)?;
        let mut state = before.clone();
        let answer = change(&mut state);
        if state == before {
            return Ok(Some(answer));
        }
        let as_read = doc! { "_id": key, "revision": revision };
        let update = doc! {
            "$set": written(&state)?,
            "$inc": { "revision": 1_i64 },
        };
        if database.update(QUOTAS, as_read, update).await? {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

#[derive(Deserialize)]
struct Stored {
    revision: i64,
    state: QuotaState,
}

/// Makes the document of a new key, and forgets those that have been idle for long.
async fn make(database: &Database, key: &str, now: u64) -> Result<(), StorageError> {
    let mut fields = written(&QuotaState::default())?;
    fields.insert("revision", 0_i64);
    // The new document must not count as idle, before its first turn is written.
    fields.insert("idle_from", bson(&now.min(i64::MAX as u64))?);
    let update = doc! { "$setOnInsert": fields };
    database.upsert(QUOTAS, key, update).await?;
    let long_idle =
        doc! { "idle_from": { "$lt": bson(&now.saturating_sub(KEPT_IDLE).min(i64::MAX as u64))? } };
    database.delete(QUOTAS, long_idle).await
}

fn written(state: &QuotaState) -> Result<Document, StorageError> {
    Ok(doc! {
        "idle_from": bson(&state.idle_from())?,
        "state": bson(state)?,
    })
}
