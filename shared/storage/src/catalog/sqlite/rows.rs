//! Rows with a record as JSON, and how JSON is read and written.

use std::error::Error;

use rusqlite::{Connection, Row};
use serde::{Serialize, de::DeserializeOwned};

use super::database::Failure;
use crate::error::StorageError;

/// Reads the record with this id from one of the tables that have a column `record`.
pub(super) fn record<T: DeserializeOwned>(
    connection: &Connection,
    table: &str,
    id: &str,
) -> Result<Option<T>, Failure> {
    let sql = format!("SELECT record FROM {table} WHERE id = ?1");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query_and_then([id], record_of)?;
    rows.next().transpose()
}

/// Reads at most `limit` records of the table, the newest first.
pub(super) fn newest<T: DeserializeOwned>(
    connection: &Connection,
    table: &str,
    limit: usize,
) -> Result<Vec<T>, Failure> {
    let sql = format!("SELECT record FROM {table} ORDER BY created DESC, id DESC LIMIT ?1");
    let mut select = connection.prepare_cached(&sql)?;
    select
        .query_and_then([row_limit(limit)], record_of)?
        .collect()
}

/// Changes the record with this id. Returns `None` if there is none.
pub(super) fn change_record<T: Serialize + DeserializeOwned>(
    connection: &Connection,
    table: &str,
    id: &str,
    change: impl FnOnce(&mut T),
) -> Result<Option<()>, Failure> {
    let Some(mut changed) = record(connection, table, id)? else {
        return Ok(None);
    };
    change(&mut changed);
    let sql = format!("UPDATE {table} SET record = ?1 WHERE id = ?2");
    connection
        .prepare_cached(&sql)?
        .execute([json(&changed)?.as_str(), id])?;
    Ok(Some(()))
}

pub(super) fn record_of<T: DeserializeOwned>(row: &Row) -> Result<T, Failure> {
    parse(&row.get::<_, String>(0)?)
}

/// A limit as SQLite takes it.
pub(super) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Fails for what JSON can't represent, which is a path that is not Unicode.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    let json = serde_json::to_string(value);
    json.map_err(|e| {
        StorageError::internal("a record can't be written as JSON")
            .caused_by(e)
            .into()
    })
}

pub(super) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(damaged)
}

/// Reads an enum's plain name.
pub(super) fn parse_name<T: DeserializeOwned>(name: &str) -> Result<T, Failure> {
    serde_json::from_value(name.into()).map_err(damaged)
}

pub(super) fn damaged(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
    let error = error.into();
    StorageError::internal("a record in the catalog can't be read")
        .caused_by(error)
        .into()
}
