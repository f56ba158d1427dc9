//! The operations on messages, in SQL. The functions run on the connection of a
//! [`File`](super::file::File), within its transactions.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use maskline_foundation::time::unix_millis;
use maskline_messages::{Queue, topology::DEAD_LETTERS};
use rusqlite::{Connection, OptionalExtension as _, Result, Row, ToSql, params, types::Type};
use uuid::Uuid;

use crate::broker::{
    dead_letter::{DeadLetter, DeadLetterId, DeadLetterKind, DeadLetterReason},
    envelope::Envelope,
    roles::Depth,
};

/// A message that a consumer has taken.
pub struct Taken {
    /// Its row.
    pub id: i64,
    /// Counts the times that it was taken, so that an old taker can't settle it.
    pub claim: i64,
    pub envelope: Envelope,
    pub attempts: u32,
    pub redelivered: u32,
    pub came_before: bool,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 2)
}

/// Puts all messages into their queues or, if one does not fit, none. Returns the queue
/// that has no room, if there is one. A batch that is longer than `max_length` goes into an
/// empty queue all the same, since it would never fit.
pub fn put(
    connection: &Connection,
    routed: &[(Queue, Envelope)],
    max_length: u64,
) -> Result<Option<Queue>> {
    let mut more: BTreeMap<Queue, u64> = BTreeMap::new();
    for (queue, _) in routed {
        *more.entry(*queue).or_default() += 1;
    }
    for (queue, more) in &more {
        let length = length(connection, *queue)?;
        if length > 0 && length + more > max_length {
            return Ok(Some(*queue));
        }
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO messages (queue, key, headers, body) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (queue, envelope) in routed {
        let headers = json(&envelope.headers);
        insert.execute(params![
            queue.name(),
            envelope.key,
            headers,
            &envelope.body[..]
        ])?;
    }
    for (queue, more) in more {
        lengthen(connection, queue.name(), more as i64)?;
    }
    Ok(None)
}

fn length(connection: &Connection, queue: Queue) -> Result<u64> {
    let mut select = connection.prepare_cached("SELECT messages FROM lengths WHERE queue = ?1")?;
    let length = select.query_row([queue.name()], |row| row.get(0));
    Ok(length.optional()?.unwrap_or(0))
}

fn lengthen(connection: &Connection, queue: &str, by: i64) -> Result<()> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO lengths (queue, messages) VALUES (?1, ?2)
         ON CONFLICT (queue) DO UPDATE SET messages = messages + ?2",
    )?;
    upsert.execute(params![queue, by])?;
    Ok(())
}

/// Takes the oldest `limit` messages that are free. If there are none, returns how long the
/// next one that waits for its retry still waits.
pub fn take(
    connection: &Connection,
    queue: Queue,
    owner: &str,
    limit: usize,
) -> Result<(Vec<Taken>, Option<Duration>)> {
    let now = unix_millis();
    connection
        .prepare_cached("UPDATE messages SET due = NULL WHERE due <= ?1")?
        .execute([now])?;
    let mut select = connection.prepare_cached(
        // Whatever made a message wait has left its reason.
        "SELECT id, claim, key, headers, body, attempts, redelivered,
                redelivered > 0 OR error IS NOT NULL FROM messages
         WHERE queue = ?1 AND owner IS NULL AND due IS NULL ORDER BY id LIMIT ?2",
    )?;
    let rows = select.query_map(params![queue.name(), limit], |row| {
        Ok(Taken {
            id: row.get(0)?,
            claim: row.get::<_, i64>(1)? + 1,
            envelope: envelope(row, 2)?,
            attempts: row.get(5)?,
            redelivered: row.get(6)?,
            came_before: row.get(7)?,
        })
    })?;
    let taken = rows.collect::<Result<Vec<_>>>()?;
    let mut update = connection
        .prepare_cached("UPDATE messages SET owner = ?1, claim = ?2, claimed = ?3 WHERE id = ?4")?;
    for message in &taken {
        update.execute(params![owner, message.claim, now, message.id])?;
    }
    let next_due = if taken.is_empty() {
        let mut next = connection
            .prepare_cached("SELECT min(due) FROM messages WHERE due IS NOT NULL AND queue = ?1")?;
        let due: Option<u64> = next.query_row([queue.name()], |row| row.get(0))?;
        due.map(|due| Duration::from_millis(due.saturating_sub(now)))
    } else {
        None
    };
    Ok((taken, next_due))
}

fn envelope(row: &Row<'_>, column: usize) -> Result<Envelope> {
    let headers: String = row.get(column + 1)?;
    Ok(Envelope {
        key: row.get(column)?,
        headers: from_json(&headers, column + 1)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(column + 2)?),
    })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain text")
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str, column: usize) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

const OURS: &str = "WHERE id = ?1 AND owner = ?2 AND claim = ?3";

/// Deletes a message. Returns whether it was still ours, as all functions that settle one do.
pub fn ack(
    connection: &Connection,
    queue: Queue,
    owner: &str,
    id: i64,
    claim: i64,
) -> Result<bool> {
    let mut delete = connection.prepare_cached(&format!("DELETE FROM messages {OURS}"))?;
    let ours = delete.execute(params![id, owner, claim])? > 0;
    if ours {
        lengthen(connection, queue.name(), -1)?;
    }
    Ok(ours)
}

/// Frees a message.
pub fn release(connection: &Connection, owner: &str, id: i64, claim: i64) -> Result<bool> {
    let mut update = connection.prepare_cached(&format!(
        "UPDATE messages SET owner = NULL, redelivered = redelivered + 1 {OURS}"
    ))?;
    Ok(update.execute(params![id, owner, claim])? > 0)
}

/// Frees a message after a wait, with so many attempts more than before.
pub fn delay(
    connection: &Connection,
    owner: &str,
    id: i64,
    claim: i64,
    after: Duration,
    attempts: u32,
    error: &str,
) -> Result<bool> {
    let mut update = connection.prepare_cached(&format!(
        "UPDATE messages
         SET owner = NULL, redelivered = 0, attempts = attempts + ?6, error = ?4, due = ?5,
             delayed = ?7 {OURS}"
    ))?;
    let now = unix_millis();
    let due = now.saturating_add(millis(after));
    Ok(update.execute(params![id, owner, claim, error, due, attempts, now])? > 0)
}

/// Makes the waits and time-outs that began in the future begin at `now`, since the clock was set
/// back meanwhile. A message of an earlier build does not say when its wait began, and is due at
/// once. Doing it again, or in another process, changes nothing.
pub fn follow_clock(connection: &Connection, now: u64) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE messages SET due = ?1 + ifnull(due - delayed, 0), delayed = ?1
             WHERE due IS NOT NULL AND (delayed IS NULL OR delayed > ?1)",
        )?
        .execute([now])?;
    connection
        .prepare_cached(
            "UPDATE messages SET claimed = ?1 WHERE owner IS NOT NULL AND claimed > ?1",
        )?
        .execute([now])?;
    Ok(())
}

/// Moves a message to the dead letters.
pub fn dead_letter(
    connection: &Connection,
    queue: Queue,
    owner: &str,
    id: i64,
    claim: i64,
    reason: &DeadLetterReason,
) -> Result<bool> {
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO dead_letters
             (id, queue, key, headers, body, attempts, kind, stage, error, at)
         SELECT ?4, queue, key, headers, body, attempts + 1, ?5, ?6, ?7, ?8 FROM messages {OURS}"
    ))?;
    let dead_letter_id = Uuid::now_v7().to_string();
    let kind = json(&reason.kind);
    insert.execute(params![
        id,
        owner,
        claim,
        dead_letter_id,
        kind,
        reason.stage,
        reason.error,
        unix_millis()
    ])?;
    ack(connection, queue, owner, id, claim)
}

/// Frees the messages that `owners` have in hand, and those that any owner has had for longer than
/// `visibility`. Returns the queues that have more now.
pub fn give_back(
    connection: &Connection,
    owners: &[String],
    visibility: Duration,
) -> Result<BTreeSet<Queue>> {
    const FREE: &str =
        "UPDATE messages SET owner = NULL, redelivered = redelivered + 1 WHERE owner";
    let mut queues = BTreeSet::new();
    let mut free = |sql: String, parameter: &dyn ToSql| -> Result<()> {
        let mut update = connection.prepare_cached(&sql)?;
        let mut rows = update.query([parameter])?;
        while let Some(row) = rows.next()? {
            let queue: String = row.get(0)?;
            queues.extend(queue.parse::<Queue>());
        }
        Ok(())
    };
    for owner in owners {
        free(format!("{FREE} = ?1 RETURNING queue"), owner)?;
    }
    let before = unix_millis().saturating_sub(millis(visibility));
    free(
        format!("{FREE} IS NOT NULL AND claimed < ?1 RETURNING queue"),
        &before,
    )?;
    Ok(queues)
}

/// Counts the messages of each queue.
pub fn depths(connection: &Connection) -> Result<BTreeMap<String, Depth>> {
    let mut depths: BTreeMap<String, Depth> = Queue::ALL
        .iter()
        .map(|queue| (queue.name().to_owned(), Depth::default()))
        .collect();
    let mut select = connection.prepare_cached(
        "SELECT queue, owner IS NOT NULL, ifnull(due > ?1, 0), count(*) FROM messages GROUP BY 1, 2, 3",
    )?;
    let mut rows = select.query([unix_millis()])?;
    while let Some(row) = rows.next()? {
        let depth = depths.entry(row.get(0)?).or_default();
        let (owned, delayed, count): (bool, bool, u64) = (row.get(1)?, row.get(2)?, row.get(3)?);
        *match (owned, delayed) {
            (true, _) => &mut depth.unsettled,
            (false, true) => &mut depth.delayed,
            (false, false) => &mut depth.ready,
        } += count;
    }
    Ok(depths)
}

/// Counts the messages of each queue that can be taken now, and the dead letters.
pub fn lengths(connection: &Connection) -> Result<BTreeMap<String, u64>> {
    let ready = depths(connection)?.into_iter();
    let mut lengths: BTreeMap<_, _> = ready.map(|(queue, depth)| (queue, depth.ready)).collect();
    let dead = connection.query_row("SELECT count(*) FROM dead_letters", [], |row| row.get(0))?;
    lengths.insert(DEAD_LETTERS.to_owned(), dead);
    Ok(lengths)
}

/// The oldest `limit` dead letters.
pub fn dead_letters(connection: &Connection, limit: usize) -> Result<Vec<DeadLetter>> {
    let mut select = connection.prepare_cached(
        "SELECT id, queue, key, headers, body, kind, stage, error, attempts, at
         FROM dead_letters ORDER BY id LIMIT ?1",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let dead_letters = select.query_map([limit], |row| {
        let kind: String = row.get(5)?;
        Ok(DeadLetter {
            id: DeadLetterId(row.get(0)?),
            queue: row.get(1)?,
            envelope: envelope(row, 2)?,
            kind: from_json::<DeadLetterKind>(&kind, 5)?,
            stage: row.get(6)?,
            error: row.get(7)?,
            attempts: row.get(8)?,
            at: row.get(9)?,
        })
    })?;
    dead_letters.collect()
}

/// Sends dead letters back to their queues. Returns how many, and the queues that have more
/// now. They go in however long the queue is, since they were in it before.
pub fn replay(
    connection: &Connection,
    ids: Option<&[DeadLetterId]>,
) -> Result<(usize, BTreeSet<Queue>)> {
    let (mut replayed, mut queues) = (0, BTreeSet::new());
    let mut insert = connection.prepare_cached(
        "INSERT INTO messages (queue, key, headers, body)
         SELECT queue, key, headers, body FROM dead_letters WHERE id = ?1 RETURNING queue",
    )?;
    let mut delete = connection.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?;
    for id in chosen(connection, ids)? {
        let queue: Option<String> = insert.query_row([&id], |row| row.get(0)).optional()?;
        let Some(queue) = queue else { continue };
        lengthen(connection, &queue, 1)?;
        delete.execute([&id])?;
        replayed += 1;
        queues.extend(queue.parse::<Queue>());
    }
    Ok((replayed, queues))
}

/// Removes dead letters. Returns how many.
pub fn drop_dead_letters(connection: &Connection, ids: Option<&[DeadLetterId]>) -> Result<usize> {
    let mut delete = connection.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?;
    let mut dropped = 0;
    for id in chosen(connection, ids)? {
        dropped += delete.execute([id])?;
    }
    Ok(dropped)
}

fn chosen(connection: &Connection, ids: Option<&[DeadLetterId]>) -> Result<Vec<String>> {
    if let Some(ids) = ids {
        return Ok(ids.iter().map(|id| id.0.clone()).collect());
    }
    let mut select = connection.prepare_cached("SELECT id FROM dead_letters ORDER BY id")?;
    let ids = select.query_map([], |row| row.get(0))?;
    ids.collect()
}
