//! The images' table, and who has claimed an image.

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::{CandidateId, ImageId, JobId, Label, Location, Measurements};
use rusqlite::{OptionalExtension, Row, named_params, params};

use super::{
    SqliteCatalog,
    database::Failure,
    rows::{damaged, json, parse, row_limit},
};
use crate::{
    catalog::{images::Images, missing},
    error::StorageError,
    records::{ImageDocument, ImageFacts},
};

#[async_trait]
impl Images for SqliteCatalog {
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
                .query_row([&job, &image], |row| row.get(0))?;
            first.parse().map_err(damaged)
        })
        .await
    }

    async fn put_image(&self, image: &ImageDocument) -> Result<(), StorageError> {
        let image = image.clone();
        self.write("insert", "images", move |connection| {
            let prediction = image.prediction.as_ref().map(json).transpose()?;
            connection
                .prepare_cached(
                    "INSERT INTO images (job, image, candidate, source, width, height, label,
                                         label_origin, prediction, measurements, binary)
                     VALUES (:job, :image, :candidate, :source, :width, :height, :label,
                             :label_origin, :prediction, :measurements, :binary)
                     ON CONFLICT (job, image) DO UPDATE SET
                         candidate = excluded.candidate, source = excluded.source,
                         width = excluded.width, height = excluded.height,
                         label = excluded.label, label_origin = excluded.label_origin,
                         prediction = excluded.prediction, measurements = excluded.measurements,
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
                    ":label_origin": json(&image.label_origin)?,
                    ":prediction": prediction,
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
        limit: usize,
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
            let page = params![job.to_string(), after, row_limit(limit)];
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
                Ok(found
                    .optional()?
                    .ok_or_else(|| missing::image(job, image))?
                    .into())
            };
            images.iter().map(&mut bytes_of).collect()
        })
        .await
    }

    async fn image_sources(
        &self,
        job: JobId,
        images: &[ImageId],
    ) -> Result<Vec<Location>, StorageError> {
        let images = images.to_vec();
        self.read("select", "images", move |connection| {
            let mut select = connection
                .prepare_cached("SELECT source FROM images WHERE job = ?1 AND image = ?2")?;
            let mut source_of = |image: &ImageId| {
                let found = select.query_row([job.to_string(), image.to_string()], |row| {
                    row.get::<_, String>(0)
                });
                let found = found.optional()?;
                parse(&found.ok_or_else(|| missing::image(job, image))?)
            };
            images.iter().map(&mut source_of).collect()
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
                "SELECT candidate, source, binary, width, height, label, label_origin, prediction, measurements
                 FROM images WHERE job = ?1 AND image = ?2",
            )?;
            let key = [job.to_string(), image.to_string()];
            let mut rows = select.query_and_then(key, |row| image_of(job, image, row))?;
            rows.next().transpose()
        })
        .await
    }
}

fn facts_of(row: &Row) -> Result<ImageFacts, Failure> {
    let measurements: Measurements = parse(&row.get::<_, String>(4)?)?;
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
    let prediction: Option<String> = row.get("prediction")?;
    Ok(ImageDocument {
        job,
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
