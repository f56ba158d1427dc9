//! What was removed: images (see the table of claims), locations, sources and versions.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use maskline_messages::{
    CandidateId, CandidateState, CollectionName, ImageId, JobId, Location, LocationId, Reason,
};
use rusqlite::{Connection, OptionalExtension, ToSql, named_params, params};
use url::Url;

use super::{
    SqliteCatalog,
    collections::{change_collection, open_collection},
    database::{Database, Failure},
    rows::{change_record, damaged, json, row_limit},
};
use crate::{
    catalog::{missing, removals::Removals},
    error::StorageError,
    records::{Job, REMOVED_BY, Removal, erased_location},
};

/// The most candidates or images that one transaction changes.
const BATCH: usize = 1_000;

/// How long the log is tried to be emptied while readers are in the way.
const EMPTYING: Duration = Duration::from_secs(10);

#[async_trait]
impl Removals for SqliteCatalog {
    async fn remove_job(&self, job: JobId, at: u64, purge: bool) -> Result<u64, StorageError> {
        self.write("update", "jobs", move |connection| {
            let mut collection = None;
            change_record(connection, "jobs", &job.to_string(), |job: &mut Job| {
                job.removed.get_or_insert(at);
                job.purged |= purge;
                collection = Some(job.collection.clone());
            })?;
            let collection = collection.ok_or_else(|| missing::job(job))?;
            open_collection(connection, &collection)
        })
        .await?;
        let mut ended = 0;
        loop {
            let batch = self.write("update", "candidates", move |connection| {
                let [in_flight, failed] = UNFINISHED.map(CandidateState::as_str);
                let unfinished = format!(
                    "id IN (SELECT id FROM candidates
                            WHERE job = ?1 AND state IN ('{in_flight}', '{failed}') LIMIT {BATCH})"
                );
                end_as_removed(connection, &unfinished, &[&job.to_string()])
            });
            match batch.await? {
                0 => return Ok(ended),
                candidates => ended += candidates as u64,
            }
        }
    }

    async fn remove_images(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
        purge: bool,
    ) -> Result<(), StorageError> {
        for batch in images.chunks(BATCH) {
            let (collection, batch) = (collection.clone(), batch.to_vec());
            self.write("insert", "claims", move |connection| {
                let name = collection.as_str();
                let mut remove = connection.prepare_cached(
                    "INSERT INTO claims (collection, image, candidate, purged)
                     VALUES (:collection, :image, NULL, :purged)
                     ON CONFLICT (collection, image) DO UPDATE SET
                         candidate = NULL, purged = max(purged, excluded.purged)",
                )?;
                let mut remove_places = connection.prepare_cached(
                    "INSERT INTO removed_places (collection, place)
                     SELECT DISTINCT collection, place FROM candidates
                     WHERE collection = ?1 AND image = ?2
                     ON CONFLICT DO NOTHING",
                )?;
                for image in &batch {
                    let image = image.to_string();
                    remove.execute(named_params! {
                        ":collection": name, ":image": image, ":purged": purge,
                    })?;
                    remove_places.execute([name, &image])?;
                    end_as_removed(
                        connection,
                        "collection = ?1 AND image = ?2",
                        &[&name, &image],
                    )?;
                }
                open_collection(connection, &collection)
            })
            .await?;
        }
        Ok(())
    }

    async fn remove_places(
        &self,
        collection: &CollectionName,
        places: &[LocationId],
    ) -> Result<(), StorageError> {
        let (collection, places) = (collection.clone(), places.to_vec());
        self.write("insert", "removed_places", move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO removed_places (collection, place) VALUES (?1, ?2)
                 ON CONFLICT DO NOTHING",
            )?;
            for place in &places {
                insert.execute([collection.as_str(), &place.to_string()])?;
            }
            Ok(())
        })
        .await
    }

    async fn remove_candidates(
        &self,
        collection: &CollectionName,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError> {
        for batch in candidates.chunks(BATCH) {
            let (collection, batch) = (collection.clone(), batch.to_vec());
            self.write("update", "candidates", move |connection| {
                for id in &batch {
                    let of: [&dyn ToSql; 2] = [&collection.as_str(), &id.to_string()];
                    end_as_removed(connection, "collection = ?1 AND id = ?2", &of)?;
                }
                open_collection(connection, &collection)
            })
            .await?;
        }
        Ok(())
    }

    async fn removed_places(
        &self,
        collection: &CollectionName,
        places: &[LocationId],
    ) -> Result<BTreeSet<LocationId>, StorageError> {
        let (collection, places) = (collection.clone(), places.to_vec());
        self.read("select", "removed_places", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT 1 FROM removed_places WHERE collection = ?1 AND place = ?2",
            )?;
            let mut removed = BTreeSet::new();
            for place in places {
                if select.exists([collection.as_str(), &place.to_string()])? {
                    removed.insert(place);
                }
            }
            Ok(removed)
        })
        .await
    }

    async fn removed_images(
        &self,
        collection: &CollectionName,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<ImageId>, StorageError> {
        let collection = collection.to_string();
        let after = after.map(ImageId::to_string).unwrap_or_default();
        self.read("select", "claims", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT image FROM claims
                 WHERE collection = ?1 AND image > ?2 AND candidate IS NULL
                 ORDER BY image LIMIT ?3",
            )?;
            images_of(select.query(params![collection, after, row_limit(limit)])?)
        })
        .await
    }

    async fn removal(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<Option<Removal>, StorageError> {
        let key = [collection.to_string(), image.to_string()];
        self.read("select", "claims", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT purged FROM claims
                 WHERE collection = ?1 AND image = ?2 AND candidate IS NULL",
            )?;
            let purged = select.query_row([&key[0], &key[1]], |row| row.get(0));
            Ok(purged.optional()?.map(|purged| Removal { purged }))
        })
        .await
    }

    async fn images_at(
        &self,
        collection: &CollectionName,
        url: &Url,
    ) -> Result<BTreeSet<ImageId>, StorageError> {
        let (collection, url) = (collection.clone(), url.clone());
        self.read("select", "candidates", move |connection| {
            let place = LocationId::of(&Location::Url(url.clone())).to_string();
            let mut found_there = connection.prepare_cached(
                "SELECT DISTINCT image FROM candidates
                 WHERE collection = ?1 AND place = ?2 AND fetched IS NOT NULL
                       AND image IS NOT NULL",
            )?;
            let mut shown_there = connection.prepare_cached(
                "SELECT DISTINCT image FROM candidates
                 WHERE collection = ?1 AND json_extract(provenance, '$.landing_page') = ?2
                       AND json_extract(provenance, '$.landing_page') IS NOT NULL
                       AND image IS NOT NULL",
            )?;
            let name = collection.as_str();
            let mut images = BTreeSet::new();
            images.extend(images_of(found_there.query([name, &place])?)?);
            images.extend(images_of(shown_there.query([name, url.as_str()])?)?);
            Ok(images)
        })
        .await
    }

    async fn is_elsewhere(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<bool, StorageError> {
        let key = [image.to_string(), collection.to_string()];
        self.read("select", "candidates", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT 1 FROM candidates
                 WHERE image = ?1 AND collection <> ?2 AND reason_code IS NOT 'removed' LIMIT 1",
            )?;
            Ok(select.exists([&key[0], &key[1]])?)
        })
        .await
    }

    async fn delete_images(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<(), StorageError> {
        for batch in images.chunks(BATCH) {
            let (collection, batch) = (collection.clone(), batch.to_vec());
            self.write("delete", "images", move |connection| {
                let mut delete = connection
                    .prepare_cached("DELETE FROM images WHERE collection = ?1 AND image = ?2")?;
                for image in &batch {
                    delete.execute([collection.as_str(), &image.to_string()])?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn erase_images(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<(), StorageError> {
        for batch in images.chunks(BATCH) {
            let (collection, batch) = (collection.clone(), batch.to_vec());
            self.write("update", "candidates", move |connection| {
                for image in &batch {
                    let of: [&dyn ToSql; 2] = [&collection.as_str(), &image.to_string()];
                    erase(connection, "collection = ?1 AND image = ?2", &of)?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn erase_candidates(
        &self,
        collection: &CollectionName,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError> {
        for batch in candidates.chunks(BATCH) {
            let (collection, batch) = (collection.clone(), batch.to_vec());
            self.write("update", "candidates", move |connection| {
                for id in &batch {
                    let of: [&dyn ToSql; 2] = [&collection.as_str(), &id.to_string()];
                    erase(connection, "collection = ?1 AND id = ?2", &of)?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn delete_version(&self, name: &CollectionName, number: u32) -> Result<(), StorageError> {
        let name = name.clone();
        self.write("update", "collections", move |connection| {
            change_collection(connection, &name, |collection| {
                let mut versions = collection.versions.iter_mut();
                if let Some(version) = versions.find(|version| version.number == number) {
                    version.deleted = true;
                }
            })
        })
        .await
    }

    /// The file is overwritten where something is deleted. The log has what was written before
    /// until it is emptied, which needs a moment without readers.
    async fn wipe_deleted(&self) -> Result<(), StorageError> {
        let path = self.database.path().to_owned();
        let emptying = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            while !Database::empty_log(&path)? {
                if began.elapsed() > EMPTYING {
                    return Err(StorageError::unavailable(format!(
                        "the log of {} is in use all the time, and so it may still have bytes of \
                         what was purged: do it again",
                        path.display()
                    )));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        });
        let emptied = emptying.await;
        emptied.map_err(|e| StorageError::internal("emptying the log did not end").caused_by(e))?
    }
}

/// The states in which a candidate may still become an image.
const UNFINISHED: [CandidateState; 2] = [CandidateState::InFlight, CandidateState::Failed];

/// Ends the candidates for which the condition holds as removed. Returns how many had not.
fn end_as_removed(
    connection: &Connection,
    condition: &str,
    values: &[&dyn ToSql],
) -> Result<usize, Failure> {
    let (reason, to) = (json(&Reason::Removed)?, CandidateState::REMOVE.to.as_str());
    let code = Reason::Removed.code();
    Ok(connection
        .prepare_cached(&format!(
            "UPDATE candidates SET state = '{to}', reason_code = '{code}', reason = '{reason}',
                                   stage = '{REMOVED_BY}', error = NULL
             WHERE {condition} AND reason_code IS NOT '{code}'"
        ))?
        .execute(values)?)
}

/// Ends the candidates for which the condition holds as removed, and forgets what they were.
fn erase(connection: &Connection, condition: &str, values: &[&dyn ToSql]) -> Result<(), Failure> {
    end_as_removed(connection, condition, values)?;
    let location = json(&erased_location())?;
    connection
        .prepare_cached(&format!(
            "UPDATE candidates SET location = '{location}', place = '', label = NULL,
                                   provenance = '{{}}', image = NULL, fetched = NULL,
                                   history = '[]', trace_id = NULL
             WHERE {condition}"
        ))?
        .execute(values)?;
    Ok(())
}

fn images_of(mut rows: rusqlite::Rows) -> Result<Vec<ImageId>, Failure> {
    let mut images = vec![];
    while let Some(row) = rows.next()? {
        images.push(row.get::<_, String>(0)?.parse().map_err(damaged)?);
    }
    Ok(images)
}
