//! The catalog in one SQLite file, for the processes of one machine.

mod database;

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::{CandidateId, DatasetId, ImageId, JobId, Label, RunId};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::{Serialize, de::DeserializeOwned};

use self::database::{Database, Failure};
use super::{Catalog, span::Target};
use crate::{
    error::StorageError,
    records::{
        Books, Candidate, CandidateState, Dataset, End, Ending, ImageDocument, ImageFacts, Job,
        JobState, Lease, Model, NewCandidate, Run, RunState, Settled, Work,
    },
};

/// See [`Catalog`]; several processes may have the same file open.
pub struct SqliteCatalog {
    database: Database,
    target: Target,
}

impl SqliteCatalog {
    /// Opens the file, or makes it, with its folder.
    pub async fn open(path: &Path) -> Result<Self, StorageError> {
        let target = Target {
            system: "sqlite",
            namespace: path.display().to_string(),
            server: None,
        };
        let path = path.to_owned();
        let opening = tokio::task::spawn_blocking(move || Database::open(&path));
        let database = opening.await.map_err(|e| {
            StorageError::Internal(format!("opening the catalog did not come to an end: {e}"))
        })??;
        Ok(Self { database, target })
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        table: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StorageError> {
        let work = self.database.write(work);
        self.target.traced(operation, table, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        table: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StorageError> {
        let work = self.database.read(work);
        self.target.traced(operation, table, work).await
    }

    /// Changes a job as it is now; [`StorageError::NotFound`] where there is none.
    async fn change_job(
        &self,
        id: JobId,
        change: impl FnOnce(&mut Job) + Send + 'static,
    ) -> Result<(), StorageError> {
        self.write("update", "jobs", move |connection| {
            change_record(connection, "jobs", &id.to_string(), change)?
                .ok_or_else(|| missing_job(id).into())
        })
        .await
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn ping(&self) -> Result<(), StorageError> {
        self.read("select", "jobs", |connection| {
            connection
                .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM jobs LIMIT 1)")?
                .query_row([], |_| Ok(()))?;
            Ok(())
        })
        .await
    }

    async fn create_job(&self, job: &Job) -> Result<(), StorageError> {
        let job = job.clone();
        self.write("insert", "jobs", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO jobs (id, created, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![job.id.to_string(), job.created, json(&job)?])?;
            Ok(())
        })
        .await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError> {
        self.read("select", "jobs", move |connection| {
            record(connection, "jobs", &id.to_string())
        })
        .await
    }

    async fn jobs(&self, most: usize) -> Result<Vec<Job>, StorageError> {
        self.read("select", "jobs", move |connection| {
            newest(connection, "jobs", most)
        })
        .await
    }

    async fn finish_expansion(&self, job: JobId) -> Result<(), StorageError> {
        self.change_job(job, |job| {
            if job.state == JobState::Expanding {
                job.state = JobState::Running;
            }
        })
        .await
    }

    async fn fail_job(&self, job: JobId, error: &str) -> Result<(), StorageError> {
        let error = error.to_owned();
        self.change_job(job, move |job| {
            if job.state == JobState::Expanding {
                job.state = JobState::Failed;
                job.error = Some(error);
            }
        })
        .await
    }

    async fn reopen_expansion(&self, job: JobId, letter: &str) -> Result<(), StorageError> {
        let letter = letter.to_owned();
        self.write("update", "jobs", move |connection| {
            if was_offered(connection, &Work::Freeze(job))? {
                return Ok(());
            }
            change_record(connection, "jobs", &job.to_string(), |job: &mut Job| {
                if job.state == JobState::Failed {
                    job.state = JobState::Expanding;
                    job.error = None;
                    job.replayed = Some(letter);
                }
            })?
            .ok_or_else(|| missing_job(job).into())
        })
        .await
    }

    async fn add_candidates(&self, candidates: &[NewCandidate]) -> Result<(), StorageError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let candidates = candidates.to_vec();
        self.write("insert", "candidates", move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO candidates (id, job, location, label, state)
                 VALUES (?1, ?2, ?3, ?4, 'in_flight') ON CONFLICT (id) DO NOTHING",
            )?;
            for candidate in candidates {
                insert.execute(params![
                    candidate.id.to_string(),
                    candidate.job.to_string(),
                    json(&candidate.location)?,
                    candidate.label.as_ref().map(Label::as_str),
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

    async fn candidates_in(
        &self,
        job: JobId,
        state: CandidateState,
        after: Option<CandidateId>,
        most: usize,
    ) -> Result<Vec<Candidate>, StorageError> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.read("select", "candidates", move |connection| {
            let sql = format!(
                "SELECT {CANDIDATE} FROM candidates WHERE job = ?1 AND state = ?2 AND id > ?3
                 ORDER BY id LIMIT ?4"
            );
            let mut select = connection.prepare_cached(&sql)?;
            let page = params![job.to_string(), state.as_str(), after, limit(most)];
            select.query_and_then(page, candidate_of)?.collect()
        })
        .await
    }

    async fn claim_image(
        &self,
        job: JobId,
        image: &ImageId,
        candidate: CandidateId,
    ) -> Result<CandidateId, StorageError> {
        let (job, image) = (job.to_string(), image.to_string());
        self.write("insert", "claims", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO claims (job, image, candidate) VALUES (?1, ?2, ?3)
                     ON CONFLICT (job, image) DO NOTHING",
                )?
                .execute(params![job, image, candidate.to_string()])?;
            let first: String = connection
                .prepare_cached("SELECT candidate FROM claims WHERE job = ?1 AND image = ?2")?
                .query_row([job, image], |row| row.get(0))?;
            first.parse().map_err(damaged)
        })
        .await
    }

    async fn end_candidate(&self, ending: &Ending) -> Result<CandidateState, StorageError> {
        let ending = ending.clone();
        self.write("update", "candidates", move |connection| {
            let id = ending.candidate.to_string();
            if end(connection, &id, &ending)? {
                return Ok(ending.end.state());
            }
            candidate_state(connection, &id)?
                .ok_or_else(|| StorageError::NotFound(format!("candidate {id}")).into())
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
            let mut reopen = connection.prepare_cached(
                "UPDATE candidates SET state = 'in_flight', stage = NULL, error = NULL
                 WHERE id = ?1 AND job = ?2 AND state IN ('failed', 'in_flight')",
            )?;
            let mut open = 0;
            for candidate in candidates {
                open += reopen.execute([candidate.to_string(), job.to_string()])?;
            }
            if open > 0 {
                reopen_freezing(connection, job)?;
            }
            Ok(())
        })
        .await
    }

    async fn books(&self, job: JobId) -> Result<Books, StorageError> {
        let job = job.to_string();
        self.read("select", "ledger", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT state, reason_code, candidates FROM ledger
                 WHERE job = ?1 AND candidates > 0",
            )?;
            let mut books = Books::default();
            let mut rows = select.query([&job])?;
            while let Some(row) = rows.next()? {
                let state = parse_name(row.get_ref(0)?.as_str().map_err(damaged)?)?;
                let reason: String = row.get(1)?;
                let reason = (!reason.is_empty()).then_some(reason);
                books.count(state, reason.as_deref(), row.get(2)?);
            }
            Ok(books)
        })
        .await
    }

    async fn settled(&self, job: JobId) -> Result<Option<Settled>, StorageError> {
        let job = job.to_string();
        self.read("select", "candidates", move |connection| {
            match record::<Job>(connection, "jobs", &job)? {
                Some(record) if record.state == JobState::Running => {}
                _ => return Ok(None),
            }
            let any_in_flight = connection
                .prepare_cached(
                    "SELECT 1 FROM candidates WHERE job = ?1 AND state = 'in_flight' LIMIT 1",
                )?
                .exists([&job])?;
            if any_in_flight {
                return Ok(None);
            }
            let reopened = times_reopened(connection, &job)?;
            Ok(Some(Settled { reopened }))
        })
        .await
    }

    async fn put_image(&self, image: &ImageDocument) -> Result<(), StorageError> {
        let image = image.clone();
        self.write("insert", "images", move |connection| {
            let opinion = image.opinion.as_ref().map(json).transpose()?;
            connection
                .prepare_cached(
                    "INSERT INTO images (job, image, candidate, source, width, height, label,
                                         how, opinion, measurements, binary)
                     VALUES (:job, :image, :candidate, :source, :width, :height, :label,
                             :how, :opinion, :measurements, :binary)
                     ON CONFLICT (job, image) DO UPDATE SET
                         candidate = excluded.candidate, source = excluded.source,
                         width = excluded.width, height = excluded.height,
                         label = excluded.label, how = excluded.how,
                         opinion = excluded.opinion, measurements = excluded.measurements,
                         binary = excluded.binary",
                )?
                .execute(named_params! {
                    ":job": image.job.to_string(),
                    ":image": image.image.to_string(),
                    ":candidate": image.candidate.to_string(),
                    ":source": json(&image.source)?,
                    ":width": image.width,
                    ":height": image.height,
                    ":label": image.label.as_str(),
                    ":how": json(&image.how)?,
                    ":opinion": opinion,
                    ":measurements": json(&image.measurements)?,
                    ":binary": &image.binary[..],
                })?;
            Ok(())
        })
        .await
    }

    async fn image_facts(
        &self,
        job: JobId,
        after: Option<&ImageId>,
        most: usize,
    ) -> Result<Vec<ImageFacts>, StorageError> {
        let after = after.map(ImageId::to_string).unwrap_or_default();
        self.read("select", "images", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT i.image, i.label, i.width, i.height, i.measurements,
                        (SELECT json_group_array(DISTINCT d.label) FROM candidates d
                         WHERE d.image = i.image AND d.job = i.job AND d.id <> i.candidate
                               AND d.label <> i.label)
                 FROM images i CROSS JOIN candidates c ON c.id = i.candidate
                 WHERE i.job = ?1 AND i.image > ?2 AND c.state = 'stored'
                 ORDER BY i.image LIMIT ?3",
            )?;
            let page = params![job.to_string(), after, limit(most)];
            select.query_and_then(page, facts_of)?.collect()
        })
        .await
    }

    async fn image_bytes(
        &self,
        job: JobId,
        images: &[ImageId],
    ) -> Result<Vec<Bytes>, StorageError> {
        let images = images.to_vec();
        self.read("select", "images", move |connection| {
            let mut select = connection
                .prepare_cached("SELECT binary FROM images WHERE job = ?1 AND image = ?2")?;
            let mut bytes_of = |image: &ImageId| {
                let found = select.query_row([job.to_string(), image.to_string()], |row| {
                    row.get::<_, Vec<u8>>(0)
                });
                let missing = || StorageError::NotFound(format!("image {image} of job {job}"));
                Ok(found.optional()?.ok_or_else(missing)?.into())
            };
            images.iter().map(&mut bytes_of).collect()
        })
        .await
    }

    async fn image(
        &self,
        job: JobId,
        image: &ImageId,
    ) -> Result<Option<ImageDocument>, StorageError> {
        let image = *image;
        self.read("select", "images", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT candidate, source, binary, width, height, label, how, opinion, measurements
                 FROM images WHERE job = ?1 AND image = ?2",
            )?;
            let key = [job.to_string(), image.to_string()];
            let mut rows = select.query_and_then(key, |row| image_of(job, image, row))?;
            rows.next().transpose()
        })
        .await
    }

    async fn offer(&self, work: &Work) -> Result<(), StorageError> {
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

    async fn take(&self, seen: &Lease, owner: &str) -> Result<Option<Lease>, StorageError> {
        let taken = seen.taken_by(owner);
        let seen = seen.clone();
        self.write("update", "leases", move |connection| {
            exchange(connection, &seen, taken)
        })
        .await
    }

    async fn renew(&self, lease: &Lease) -> Result<Option<Lease>, StorageError> {
        let lease = lease.clone();
        self.write("update", "leases", move |connection| {
            exchange(connection, &lease, lease.renewed())
        })
        .await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StorageError> {
        let lease = lease.clone();
        self.write("update", "leases", move |connection| {
            exchange(connection, &lease, lease.released()).map(drop)
        })
        .await
    }

    async fn finish(&self, lease: &Lease) -> Result<bool, StorageError> {
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

    async fn freeze(
        &self,
        job: JobId,
        dataset: &Dataset,
        settled: Settled,
    ) -> Result<(), StorageError> {
        let dataset = dataset.clone();
        self.write("insert", "datasets", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO datasets (id, created, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![
                    dataset.id.to_string(),
                    dataset.created,
                    json(&dataset)?
                ])?;
            change_settled(connection, job, settled, |job| {
                job.state = JobState::Frozen;
                job.dataset = Some(dataset.id);
            })
        })
        .await
    }

    async fn fail_settled(
        &self,
        job: JobId,
        error: &str,
        settled: Settled,
    ) -> Result<(), StorageError> {
        let error = error.to_owned();
        self.write("update", "jobs", move |connection| {
            change_settled(connection, job, settled, |job| {
                job.state = JobState::Failed;
                job.error = Some(error);
            })
        })
        .await
    }

    async fn dataset(&self, id: &DatasetId) -> Result<Option<Dataset>, StorageError> {
        let id = id.to_string();
        self.read("select", "datasets", move |connection| {
            record(connection, "datasets", &id)
        })
        .await
    }

    async fn datasets(&self, most: usize) -> Result<Vec<Dataset>, StorageError> {
        self.read("select", "datasets", move |connection| {
            newest(connection, "datasets", most)
        })
        .await
    }

    async fn create_run(&self, run: &Run) -> Result<(), StorageError> {
        let run = run.clone();
        self.write("insert", "runs", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO runs (id, dataset, created, record) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![
                    run.id.to_string(),
                    run.dataset.to_string(),
                    run.created,
                    json(&run)?
                ])?;
            Ok(())
        })
        .await
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>, StorageError> {
        self.read("select", "runs", move |connection| {
            record(connection, "runs", &id.to_string())
        })
        .await
    }

    async fn runs(
        &self,
        dataset: Option<&DatasetId>,
        most: usize,
    ) -> Result<Vec<Run>, StorageError> {
        let dataset = dataset.map(DatasetId::to_string);
        self.read("select", "runs", move |connection| {
            let Some(dataset) = dataset else {
                return newest(connection, "runs", most);
            };
            let mut select = connection.prepare_cached(
                "SELECT record FROM runs WHERE dataset = ?1 ORDER BY created DESC, id DESC LIMIT ?2",
            )?;
            select
                .query_and_then(params![dataset, limit(most)], record_of)?
                .collect()
        })
        .await
    }

    async fn update_run(&self, run: &Run) -> Result<(), StorageError> {
        let run = run.clone();
        self.write("update", "runs", move |connection| {
            let id = run.id;
            change_record(
                connection,
                "runs",
                &id.to_string(),
                move |stored: &mut Run| {
                    stored.state = run.state;
                    stored.error = run.error;
                    stored.epoch = run.epoch;
                    stored.accuracy = run.accuracy;
                    stored.loss = run.loss;
                    stored.device = run.device;
                },
            )?
            .ok_or_else(|| StorageError::NotFound(format!("run {id}")).into())
        })
        .await
    }

    async fn reopen_run(&self, id: RunId) -> Result<(), StorageError> {
        self.write("update", "runs", move |connection| {
            let mut was = RunState::Open;
            change_record(connection, "runs", &id.to_string(), |run: &mut Run| {
                was = run.state;
                if run.state == RunState::Failed {
                    *run = run.reopened();
                }
            })?
            .ok_or_else(|| StorageError::NotFound(format!("run {id}")))?;
            if was == RunState::Failed {
                reopen_work(connection, &Work::Train(id))?;
            }
            Ok(())
        })
        .await
    }

    async fn publish_model(&self, model: &Model) -> Result<(), StorageError> {
        let model = model.clone();
        self.write("insert", "models", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO models (id, created, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO UPDATE SET
                         created = excluded.created, record = excluded.record",
                )?
                .execute(params![model.id.to_string(), model.created, json(&model)?])?;
            Ok(())
        })
        .await
    }

    async fn model(&self, id: RunId) -> Result<Option<Model>, StorageError> {
        self.read("select", "models", move |connection| {
            record(connection, "models", &id.to_string())
        })
        .await
    }

    async fn models(&self, most: usize) -> Result<Vec<Model>, StorageError> {
        self.read("select", "models", move |connection| {
            newest(connection, "models", most)
        })
        .await
    }
}

const CANDIDATE: &str =
    "id, job, location, label, state, image, stage, reason, error, history, trace_id";

/// A row of [`CANDIDATE`].
fn candidate_of(row: &Row) -> Result<Candidate, Failure> {
    let text = |column| row.get::<_, String>(column);
    let perhaps = |column| row.get::<_, Option<String>>(column);
    Ok(Candidate {
        id: text("id")?.parse().map_err(damaged)?,
        job: text("job")?.parse().map_err(damaged)?,
        location: parse(&text("location")?)?,
        label: perhaps("label")?
            .map(|l| l.parse())
            .transpose()
            .map_err(damaged)?,
        state: parse_name(&text("state")?)?,
        image: perhaps("image")?
            .map(|i| i.parse())
            .transpose()
            .map_err(damaged)?,
        stage: perhaps("stage")?,
        reason: perhaps("reason")?.map(|r| parse(&r)).transpose()?,
        error: perhaps("error")?,
        history: parse(&text("history")?)?,
        trace_id: perhaps("trace_id")?,
    })
}

fn candidate_state(connection: &Connection, id: &str) -> Result<Option<CandidateState>, Failure> {
    let mut select = connection.prepare_cached("SELECT state FROM candidates WHERE id = ?1")?;
    let state: Option<String> = select.query_row([id], |row| row.get(0)).optional()?;
    state.map(|name| parse_name(&name)).transpose()
}

/// Whether the candidate was in flight.
fn end(connection: &Connection, id: &str, ending: &Ending) -> Result<bool, Failure> {
    let (stage, reason, error) = match &ending.end {
        End::Stored => (None, None, None),
        End::Rejected { stage, reason } => (Some(stage), Some(reason), None),
        End::Failed { stage, error } => (Some(stage), None, Some(error)),
    };
    let changed = connection
        .prepare_cached(
            "UPDATE candidates SET
                 state = :state, image = coalesce(:image, image), stage = :stage,
                 reason_code = :reason_code, reason = :reason, error = :error,
                 history = :history, trace_id = coalesce(:trace_id, trace_id)
             WHERE id = :id AND state = 'in_flight'",
        )?
        .execute(named_params! {
            ":id": id,
            ":state": ending.end.state().as_str(),
            ":image": ending.image.as_ref().map(ImageId::to_string),
            ":stage": stage,
            ":reason_code": reason.map(|reason| reason.code()),
            ":reason": reason.map(json).transpose()?,
            ":error": error,
            ":history": json(&ending.history)?,
            ":trace_id": ending.trace_id,
        })?;
    Ok(changed == 1)
}

fn facts_of(row: &Row) -> Result<ImageFacts, Failure> {
    let measurements: maskline_messages::Measurements = parse(&row.get::<_, String>(4)?)?;
    let mut conflicting: Vec<Label> = parse(&row.get::<_, String>(5)?)?;
    conflicting.sort();
    Ok(ImageFacts {
        image: row.get::<_, String>(0)?.parse().map_err(damaged)?,
        label: row.get::<_, String>(1)?.parse().map_err(damaged)?,
        conflicting,
        width: row.get(2)?,
        height: row.get(3)?,
        phash: measurements.phash,
        phash_mirrored: measurements.phash_mirrored,
    })
}

fn image_of(job: JobId, image: ImageId, row: &Row) -> Result<ImageDocument, Failure> {
    let text = |column| row.get::<_, String>(column);
    let opinion: Option<String> = row.get("opinion")?;
    Ok(ImageDocument {
        job,
        image,
        candidate: text("candidate")?.parse().map_err(damaged)?,
        source: parse(&text("source")?)?,
        binary: row.get::<_, Vec<u8>>("binary")?.into(),
        width: row.get("width")?,
        height: row.get("height")?,
        label: text("label")?.parse().map_err(damaged)?,
        how: parse(&text("how")?)?,
        opinion: opinion.map(|o| parse(&o)).transpose()?,
        measurements: parse(&text("measurements")?)?,
    })
}

/// Puts `now` in the place of the lease that was seen, if it is still so.
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

fn was_offered(connection: &Connection, work: &Work) -> Result<bool, Failure> {
    let mut select =
        connection.prepare_cached("SELECT 1 FROM leases WHERE kind = ?1 AND id = ?2")?;
    Ok(select.exists(params![work.kind(), work.id()])?)
}

/// Work that was offered, done or not, is free: whoever holds it loses it.
fn reopen_work(connection: &Connection, work: &Work) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "UPDATE leases SET owner = NULL, beat = beat + 1, failures = 0, done = 0
             WHERE kind = ?1 AND id = ?2",
        )?
        .execute(params![work.kind(), work.id()])?;
    Ok(())
}

/// An expanded job is to be frozen once more, by whoever sees it settled from now on.
fn reopen_freezing(connection: &Connection, job: JobId) -> Result<(), Failure> {
    let freezing = Work::Freeze(job);
    if !was_offered(connection, &freezing)? {
        return Ok(());
    }
    let id = job.to_string();
    connection
        .prepare_cached("UPDATE jobs SET reopened = reopened + 1 WHERE id = ?1")?
        .execute([&id])?;
    change_record(connection, "jobs", &id, |job: &mut Job| {
        if matches!(job.state, JobState::Frozen | JobState::Failed) {
            job.state = JobState::Running;
            job.error = None;
        }
    })?;
    reopen_work(connection, &freezing)
}

/// Changes a job that is as it was settled.
fn change_settled(
    connection: &Connection,
    id: JobId,
    settled: Settled,
    change: impl FnOnce(&mut Job),
) -> Result<(), Failure> {
    let key = id.to_string();
    let as_settled = times_reopened(connection, &key)? == settled.reopened;
    change_record(connection, "jobs", &key, |job: &mut Job| {
        if as_settled && job.state == JobState::Running {
            change(job);
        }
    })?
    .ok_or_else(|| missing_job(id).into())
}

/// How often a job was opened again; one that does not exist never was.
fn times_reopened(connection: &Connection, job: &str) -> Result<i64, Failure> {
    let mut select = connection.prepare_cached("SELECT reopened FROM jobs WHERE id = ?1")?;
    let times = select.query_row([job], |row| row.get(0)).optional()?;
    Ok(times.unwrap_or_default())
}

/// A record of one of the tables with a column `record`.
fn record<T: DeserializeOwned>(
    connection: &Connection,
    table: &str,
    id: &str,
) -> Result<Option<T>, Failure> {
    let sql = format!("SELECT record FROM {table} WHERE id = ?1");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query_and_then([id], record_of)?;
    rows.next().transpose()
}

fn newest<T: DeserializeOwned>(
    connection: &Connection,
    table: &str,
    most: usize,
) -> Result<Vec<T>, Failure> {
    let sql = format!("SELECT record FROM {table} ORDER BY created DESC, id DESC LIMIT ?1");
    let mut select = connection.prepare_cached(&sql)?;
    select.query_and_then([limit(most)], record_of)?.collect()
}

/// `None` where there is no such record.
fn change_record<T: Serialize + DeserializeOwned>(
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

fn record_of<T: DeserializeOwned>(row: &Row) -> Result<T, Failure> {
    parse(&row.get::<_, String>(0)?)
}

fn missing_job(job: JobId) -> StorageError {
    StorageError::NotFound(format!("job {job}"))
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// Fails for what JSON can't say, which is a path that is not Unicode.
fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    let json = serde_json::to_string(value);
    json.map_err(|e| StorageError::Internal(format!("can't be recorded: {e}")).into())
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(damaged)
}

/// An enum's plain name.
fn parse_name<T: DeserializeOwned>(name: &str) -> Result<T, Failure> {
    serde_json::from_value(name.into()).map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> Failure {
    StorageError::Internal(format!("a record in the catalog can't be read: {error}")).into()
}
