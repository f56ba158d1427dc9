//! The images' table, and who has claimed an image.

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::{CandidateId, CollectionName, ImageId, Measurements};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{
    SqliteCatalog,
    candidates::{CANDIDATE, candidate_of},
    database::Failure,
    rows::{damaged, json, parse, parse_name, row_limit},
};
use crate::{
    catalog::{images::Images, missing},
    error::StorageError,
    records::{Candidate, Claim, ImageDocument, ImageFacts, Sighting},
};

#[async_trait]
impl Images for SqliteCatalog {
    async fn claim_image(
        &self,
        collection: &CollectionName,
        image: &ImageId,
        candidate: CandidateId,
    ) -> Result<Claim, StorageError> {
        let key = [collection.to_string(), image.to_string()];
        self.write("insert", "claims", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO claims (collection, image, candidate) VALUES (?1, ?2, ?3)
                     ON CONFLICT (collection, image) DO UPDATE SET candidate = excluded.candidate
                     WHERE EXISTS (SELECT 1 FROM candidates c
                                   WHERE c.id = claims.candidate
                                         AND c.state IN ('rejected', 'failed'))",
                )?
                .execute(params![key[0], key[1], candidate.to_string()])?;
            let claim = claim_of(connection, &key)?;
            claim.ok_or_else(|| damaged("a lost claim"))
        })
        .await
    }

    async fn put_image(&self, image: &ImageDocument) -> Result<Claim, StorageError> {
        let image = image.clone();
        self.write("insert", "images", move |connection| {
            let key = [image.collection.to_string(), image.image.to_string()];
            let own = Claim::Held(image.candidate);
            match claim_of(connection, &key)? {
                Some(claim) if claim != own => return Ok(claim),
                _ => {}
            }
            let prediction = image.prediction.as_ref().map(json).transpose()?;
            connection
                .prepare_cached(
                    "INSERT INTO images (collection, job, image, candidate, source, width, height, label,
                                         label_origin, prediction, measurements, binary)
                     VALUES (:collection, :job, :image, :candidate, :source, :width, :height, :label,
                             :label_origin, :prediction, :measurements, :binary)
                     ON CONFLICT (collection, image) DO UPDATE SET
                         job = excluded.job, candidate = excluded.candidate, source = excluded.source,
                         width = excluded.width, height = excluded.height,
                         label = excluded.label, label_origin = excluded.label_origin,
                         prediction = excluded.prediction, measurements = excluded.measurements,
                         binary = excluded.binary",
                )?
                .execute(named_params! {
                    ":collection": image.collection.as_str(),
                    ":job": image.job.to_string(),
                    ":image": image.image.to_string(),
                    ":candidate": image.candidate.to_string(),
                    ":source": json(&image.source)?,
                    ":width": image.width,
                    ":height": image.height,
                    ":label": image.label.as_str(),
                    ":label_origin": json(&image.label_origin)?,
                    ":prediction": prediction,
                    ":measurements": json(&image.measurements)?,
                    ":binary": &image.binary[..],
                })?;
            Ok(own)
        })
        .await
    }

    async fn image_facts(
        &self,
        collection: &CollectionName,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<ImageFacts>, StorageError> {
        let collection = collection.to_string();
        let after = after.map(ImageId::to_string).unwrap_or_default();
        self.read("select", "images", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT i.image, i.width, i.height, i.measurements
                 FROM images i CROSS JOIN candidates c ON c.id = i.candidate
                 WHERE i.collection = ?1 AND i.image > ?2
                       AND (c.state = 'stored' OR c.reason_code = 'removed')
                       AND NOT EXISTS (SELECT 1 FROM claims k
                                       WHERE k.collection = i.collection AND k.image = i.image
                                             AND k.candidate IS NULL)
                 ORDER BY i.image LIMIT ?3",
            )?;
            let page = params![collection, after, row_limit(limit)];
            let facts = select.query_and_then(page, facts_of)?;
            let with_sightings = |facts: Result<ImageFacts, Failure>| {
                let mut facts = facts?;
                facts.sightings = sightings_of(connection, &collection, &facts.image)?;
                Ok(facts)
            };
            facts.map(with_sightings).collect()
        })
        .await
    }

    async fn sightings(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Vec<Sighting>>, StorageError> {
        let (collection, images) = (collection.to_string(), images.to_vec());
        self.read("select", "candidates", move |connection| {
            let of = |image: &ImageId| sightings_of(connection, &collection, image);
            images.iter().map(of).collect()
        })
        .await
    }

    async fn image_bytes(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Bytes>, StorageError> {
        let (collection, images) = (collection.clone(), images.to_vec());
        self.read("select", "images", move |connection| {
            let mut select = connection
                .prepare_cached("SELECT binary FROM images WHERE collection = ?1 AND image = ?2")?;
            let mut bytes_of = |image: &ImageId| {
                let key = [collection.as_str(), &image.to_string()];
                let found = select.query_row(key, |row| row.get::<_, Vec<u8>>(0));
                Ok(found
                    .optional()?
                    .ok_or_else(|| missing::image(&collection, image))?
                    .into())
            };
            images.iter().map(&mut bytes_of).collect()
        })
        .await
    }

    async fn image_measurements(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Measurements>, StorageError> {
        let (collection, images) = (collection.clone(), images.to_vec());
        self.read("select", "images", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT measurements FROM images WHERE collection = ?1 AND image = ?2",
            )?;
            let mut measurements_of = |image: &ImageId| {
                let key = [collection.as_str(), &image.to_string()];
                let found = select.query_row(key, |row| row.get::<_, String>(0));
                let found = found.optional()?;
                let found = found.ok_or_else(|| missing::image(&collection, image))?;
                parse(&found)
            };
            images.iter().map(&mut measurements_of).collect()
        })
        .await
    }

    async fn image_candidates(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Candidate>, StorageError> {
        let (collection, images) = (collection.clone(), images.to_vec());
        self.read("select", "candidates", move |connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT {CANDIDATE} FROM candidates
                 WHERE id = (SELECT candidate FROM images WHERE collection = ?1 AND image = ?2)"
            ))?;
            let mut candidate_of_image = |image: &ImageId| {
                let key = [collection.as_str(), &image.to_string()];
                let mut rows = select.query_and_then(key, candidate_of)?;
                let candidate = rows.next().transpose()?;
                candidate.ok_or_else(|| missing::image(&collection, image).into())
            };
            images.iter().map(&mut candidate_of_image).collect()
        })
        .await
    }

    async fn image(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<Option<ImageDocument>, StorageError> {
        let (collection, image) = (collection.clone(), *image);
        self.read("select", "images", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT job, candidate, source, binary, width, height, label, label_origin,
                        prediction, measurements
                 FROM images WHERE collection = ?1 AND image = ?2",
            )?;
            let key = [collection.to_string(), image.to_string()];
            let document = |row: &Row| image_of(&collection, image, row);
            let mut rows = select.query_and_then(key, document)?;
            rows.next().transpose()
        })
        .await
    }
}

/// Who has an image. `None` if nobody has claimed it.
fn claim_of(connection: &Connection, key: &[String; 2]) -> Result<Option<Claim>, Failure> {
    let mut select = connection
        .prepare_cached("SELECT candidate FROM claims WHERE collection = ?1 AND image = ?2")?;
    let claim = |row: &Row| match row.get::<_, Option<String>>(0)? {
        Some(holder) => Ok(Claim::Held(holder.parse().map_err(damaged)?)),
        None => Ok(Claim::Removed),
    };
    let mut rows = select.query_and_then([&key[0], &key[1]], claim)?;
    rows.next().transpose()
}

fn sightings_of(
    connection: &Connection,
    collection: &str,
    image: &ImageId,
) -> Result<Vec<Sighting>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT min(id), job, label, state, reason_code FROM candidates
         WHERE image = ?1 AND collection = ?2
         GROUP BY job, label, state, reason_code ORDER BY 1",
    )?;
    select
        .query_and_then([&image.to_string(), collection], sighting_of)?
        .collect()
}

/// The facts of a row, without sightings.
fn facts_of(row: &Row) -> Result<ImageFacts, Failure> {
    let measurements: Measurements = parse(&row.get::<_, String>(3)?)?;
    Ok(ImageFacts {
        image: row.get::<_, String>(0)?.parse().map_err(damaged)?,
        width: row.get(1)?,
        height: row.get(2)?,
        phash: measurements.phash,
        phash_mirrored: measurements.phash_mirrored,
        fingerprint: measurements.fingerprint,
        sightings: vec![],
    })
}

fn sighting_of(row: &Row) -> Result<Sighting, Failure> {
    let text = |column| row.get::<_, String>(column);
    let label: Option<String> = row.get(2)?;
    Ok(Sighting {
        candidate: text(0)?.parse().map_err(damaged)?,
        job: text(1)?.parse().map_err(damaged)?,
        label: label
            .map(|label| label.parse())
            .transpose()
            .map_err(damaged)?,
        state: parse_name(&text(3)?)?,
        reason: row.get(4)?,
    })
}

fn image_of(
    collection: &CollectionName,
    image: ImageId,
    row: &Row,
) -> Result<ImageDocument, Failure> {
    let text = |column| row.get::<_, String>(column);
    let prediction: Option<String> = row.get("prediction")?;
    Ok(ImageDocument {
        collection: collection.clone(),
        job: text("job")?.parse().map_err(damaged)?,
        image,
        candidate: text("candidate")?.parse().map_err(damaged)?,
        source: parse(&text("source")?)?,
        binary: row.get::<_, Vec<u8>>("binary")?.into(),
        width: row.get("width")?,
        height: row.get("height")?,
        label: text("label")?.parse().map_err(damaged)?,
        label_origin: parse(&text("label_origin")?)?,
        prediction: prediction.map(|o| parse(&o)).transpose()?,
        measurements: parse(&text("measurements")?)?,
    })
}
