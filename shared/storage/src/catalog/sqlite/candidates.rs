//! The candidates' table. The counts of a job are kept by triggers, see schema.sql.

use async_trait::async_trait;
use maskline_messages::{
    CandidateId, CollectionName, ImageId, JobId, KnownImage, Label, Location, LocationId, Reason,
};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{
    SqliteCatalog,
    database::Failure,
    jobs::reopen_freezing,
    rows::{damaged, json, parse, parse_name, row_limit},
};
use crate::{
    catalog::{candidates::Candidates, missing},
    error::StorageError,
    records::{Candidate, CandidateOutcome, CandidateState, Counts, NewCandidate},
};

#[async_trait]
impl Candidates for SqliteCatalog {
    async fn add_candidates(&self, candidates: &[NewCandidate]) -> Result<(), StorageError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let candidates = candidates.to_vec();
        self.write("insert", "candidates", move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO candidates (id, collection, job, location, place, label, provenance,
                                         state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'in_flight') ON CONFLICT (id) DO NOTHING",
            )?;
            for candidate in &candidates {
                insert.execute(params![
                    candidate.id.to_string(),
                    candidate.collection.as_str(),
                    candidate.job.to_string(),
                    json(&candidate.location)?,
                    LocationId::of(&candidate.location).to_string(),
                    candidate.label.as_ref().map(Label::as_str),
                    json(&candidate.provenance)?,
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn candidate(&self, id: CandidateId) -> Result<Option<Candidate>, StorageError> {
        self.read("select", "candidates", move |connection| {
            let sql = format!("SELECT {CANDIDATE} FROM candidates WHERE id = ?1");
            let mut select = connection.prepare_cached(&sql)?;
            let mut rows = select.query_and_then([id.to_string()], candidate_of)?;
            rows.next().transpose()
        })
        .await
    }

    async fn candidates_of(&self, image: &ImageId) -> Result<Vec<Candidate>, StorageError> {
        let image = image.to_string();
        self.read("select", "candidates", move |connection| {
            let sql = format!("SELECT {CANDIDATE} FROM candidates WHERE image = ?1 ORDER BY id");
            let mut select = connection.prepare_cached(&sql)?;
            select.query_and_then([image], candidate_of)?.collect()
        })
        .await
    }

    async fn known_images(
        &self,
        collection: &CollectionName,
        job: JobId,
        locations: &[Location],
    ) -> Result<Vec<Option<KnownImage>>, StorageError> {
        let (collection, job) = (collection.to_string(), job.to_string());
        let places: Vec<_> = locations.iter().map(LocationId::of).collect();
        self.read("select", "candidates", move |connection| {
            let [copy, unchanged] = Reason::COPIES;
            let mut select = connection.prepare_cached(&format!(
                "SELECT id, image, fetched FROM candidates
                 WHERE collection = ?1 AND place = ?2 AND fetched IS NOT NULL AND job <> ?3
                       AND image IS NOT NULL
                       AND (state = 'stored' OR reason_code IN ('{copy}', '{unchanged}'))
                       AND EXISTS (SELECT 1
                                   FROM images i JOIN candidates c ON c.id = i.candidate
                                   WHERE i.collection = ?1 AND i.image = candidates.image
                                         AND (c.state = 'stored' OR c.reason_code = 'removed'))
                 ORDER BY json_extract(fetched, '$.at') DESC, id LIMIT 1"
            ))?;
            let mut known = |place: &LocationId| {
                let place = place.to_string();
                let mut rows = select.query_and_then([&collection, &place, &job], known_image)?;
                let known = rows.next().transpose()?;
                Ok(known.filter(|known| known.fetched.has_validator()))
            };
            places.iter().map(&mut known).collect()
        })
        .await
    }

    async fn candidates_in(
        &self,
        job: JobId,
        state: CandidateState,
        after: Option<CandidateId>,
        limit: usize,
    ) -> Result<Vec<Candidate>, StorageError> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.read("select", "candidates", move |connection| {
            let sql = format!(
                "SELECT {CANDIDATE} FROM candidates WHERE job = ?1 AND state = ?2 AND id > ?3
                 ORDER BY id LIMIT ?4"
            );
            let mut select = connection.prepare_cached(&sql)?;
            let page = params![job.to_string(), state.as_str(), after, row_limit(limit)];
            select.query_and_then(page, candidate_of)?.collect()
        })
        .await
    }

    async fn finish_candidate(
        &self,
        outcome: &CandidateOutcome,
    ) -> Result<CandidateState, StorageError> {
        let outcome = outcome.clone();
        self.write("update", "candidates", move |connection| {
            let id = outcome.candidate.to_string();
            if finish(connection, &id, &outcome)? {
                return Ok(outcome.kind.state());
            }
            candidate_state(connection, &id)?
                .ok_or_else(|| missing::candidate(outcome.candidate).into())
        })
        .await
    }

    async fn reopen_candidates(
        &self,
        job: JobId,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError> {
        let candidates = candidates.to_vec();
        self.write("update", "candidates", move |connection| {
            let change = CandidateState::REOPEN;
            let mut reopen = connection.prepare_cached(&format!(
                "UPDATE candidates SET state = ?1, stage = NULL, error = NULL
                 WHERE id = ?2 AND job = ?3 AND {}",
                in_one_of(change.from),
            ))?;
            let (to, job_id, mut open) = (change.to.as_str(), job.to_string(), 0);
            for candidate in &candidates {
                open += reopen.execute([to, &candidate.to_string(), &job_id])?;
            }
            if open > 0 {
                reopen_freezing(connection, job)?;
            }
            Ok(())
        })
        .await
    }

    async fn counts(&self, job: JobId) -> Result<Counts, StorageError> {
        let job = job.to_string();
        self.read("select", "ledger", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT state, reason_code, candidates FROM ledger
                 WHERE job = ?1 AND candidates > 0",
            )?;
            let mut counts = Counts::default();
            let mut rows = select.query([&job])?;
            while let Some(row) = rows.next()? {
                let state = parse_name(row.get_ref(0)?.as_str().map_err(damaged)?)?;
                let reason: String = row.get(1)?;
                let reason = (!reason.is_empty()).then_some(reason);
                counts.add(state, reason.as_deref(), row.get(2)?);
            }
            Ok(counts)
        })
        .await
    }
}

pub(super) const CANDIDATE: &str = "id, collection, job, location, label, provenance, state, image, fetched, \
                         stage, reason, error, history, trace_id";

/// Reads a row of the columns [`CANDIDATE`].
pub(super) fn candidate_of(row: &Row) -> Result<Candidate, Failure> {
    let text = |column| row.get::<_, String>(column);
    let perhaps = |column| row.get::<_, Option<String>>(column);
    Ok(Candidate {
        id: text("id")?.parse().map_err(damaged)?,
        collection: text("collection")?.parse().map_err(damaged)?,
        job: text("job")?.parse().map_err(damaged)?,
        location: parse(&text("location")?)?,
        label: perhaps("label")?
            .map(|l| l.parse())
            .transpose()
            .map_err(damaged)?,
        provenance: parse(&text("provenance")?)?,
        state: parse_name(&text("state")?)?,
        image: perhaps("image")?
            .map(|i| i.parse())
            .transpose()
            .map_err(damaged)?,
        fetched: perhaps("fetched")?.map(|f| parse(&f)).transpose()?,
        stage: perhaps("stage")?,
        reason: perhaps("reason")?.map(|r| parse(&r)).transpose()?,
        error: perhaps("error")?,
        history: parse(&text("history")?)?,
        trace_id: perhaps("trace_id")?,
    })
}

fn known_image(row: &Row) -> Result<KnownImage, Failure> {
    let text = |column| row.get::<_, String>(column);
    Ok(KnownImage {
        candidate: text(0)?.parse().map_err(damaged)?,
        image: text(1)?.parse().map_err(damaged)?,
        fetched: parse(&text(2)?)?,
    })
}

fn candidate_state(connection: &Connection, id: &str) -> Result<Option<CandidateState>, Failure> {
    let mut select = connection.prepare_cached("SELECT state FROM candidates WHERE id = ?1")?;
    let state: Option<String> = select.query_row([id], |row| row.get(0)).optional()?;
    state.map(|name| parse_name(&name)).transpose()
}

/// A condition on the column `state`.
fn in_one_of(states: &[CandidateState]) -> String {
    let names: Vec<_> = states
        .iter()
        .map(|state| format!("'{}'", state.as_str()))
        .collect();
    format!("state IN ({})", names.join(", "))
}

/// Writes the outcome. Returns `false` if the candidate was not in flight.
fn finish(connection: &Connection, id: &str, outcome: &CandidateOutcome) -> Result<bool, Failure> {
    let (stage, reason, error) = outcome.kind.details();
    let change = outcome.kind.change();
    let changed = connection
        .prepare_cached(&format!(
            "UPDATE candidates SET
                 state = :state, image = coalesce(:image, image),
                 fetched = coalesce(:fetched, fetched), stage = :stage,
                 reason_code = :reason_code, reason = :reason, error = :error,
                 history = :history, trace_id = coalesce(:trace_id, trace_id)
             WHERE id = :id AND {}",
            in_one_of(change.from),
        ))?
        .execute(named_params! {
            ":id": id,
            ":state": change.to.as_str(),
            ":image": outcome.image.as_ref().map(ImageId::to_string),
            ":fetched": outcome.fetched.as_ref().map(json).transpose()?,
            ":stage": stage,
            ":reason_code": reason.map(|reason| reason.code()),
            ":reason": reason.map(json).transpose()?,
            ":error": error,
            ":history": json(&outcome.history)?,
            ":trace_id": outcome.trace_id,
        })?;
    Ok(changed == 1)
}
