//! One epoch's images, read back in three ways: from Parquet shards, from one
//! object each, and from one document each.
//!
//!     tests/bench reading
//!
//! The images are read from a folder and from SQLite, and from S3 and MongoDB if
//! MASKLINE_TEST_S3 and MASKLINE_TEST_MONGODB name servers. Shards are read whole and in
//! order, as the trainer does. Objects and documents are read in a random order, 16 objects
//! at a time and 64 documents in a query. The result is the median of a few epochs.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use arrow::{
    array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use maskline_messages::{
    CandidateId, CollectionName, Format, ImageId, JobId, Label, LabelOrigin, Location,
    Measurements, ObjectKey,
};
use maskline_storage::{Catalog, ObjectStore, catalog, objects, records::ImageDocument};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::Compression,
    file::properties::{EnabledStatistics, WriterProperties},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use url::Url;

const IMAGES: usize = 2_000;
/// The bytes of one image, as a normalized face of 224 pixels has them.
const SIZES: std::ops::Range<usize> = 10_000..20_000;
const SHARD_ROWS: usize = 1_000;
const GROUP_ROWS: usize = 250;
const OBJECTS_AT_ONCE: usize = 16;
const DOCUMENTS_AT_ONCE: usize = 64;
const EPOCHS: usize = 5;

struct Picture {
    id: ImageId,
    bytes: Bytes,
}

#[tokio::main]
async fn main() -> Result<()> {
    let pictures = draw();
    let bytes: usize = pictures.iter().map(|picture| picture.bytes.len()).sum();
    let megabytes = bytes as f64 / 1e6;
    println!("one epoch: {IMAGES} images, {megabytes:.1} MB; median of {EPOCHS}\n");
    println!("{:<34} {:>9} {:>7} {:>7}", "", "images/s", "MB/s", "ratio");

    let folder = tempfile::tempdir()?;
    let on_disk = |scheme: &str, name: &str| {
        let path = folder.path().join(name);
        format!("{scheme}:{}", path.display())
    };
    let mut object_stores = vec![("a folder", on_disk("file", "objects"))];
    let mut catalogs = vec![("SQLite", on_disk("sqlite", "catalog.db"))];
    let run = uuid::Uuid::new_v4().simple();
    match env::var("MASKLINE_TEST_S3") {
        Ok(address) => {
            let mut address = Url::parse(&address).context("MASKLINE_TEST_S3 is no address")?;
            address.set_path(&format!("bench/{run}"));
            object_stores.push(("S3", address.into()));
        }
        Err(_) => println!("MASKLINE_TEST_S3 is not set: without S3"),
    }
    match env::var("MASKLINE_TEST_MONGODB") {
        Ok(address) => {
            let mut address =
                Url::parse(&address).context("MASKLINE_TEST_MONGODB is no address")?;
            address.set_path(&format!("maskline-bench-{run}"));
            catalogs.push(("MongoDB", address.into()));
        }
        Err(_) => println!("MASKLINE_TEST_MONGODB is not set: without MongoDB"),
    }

    let mut results = vec![];
    for (name, address) in &object_stores {
        let store = objects::open(address).await?;
        let shards = put_shards(&*store, &pictures).await?;
        let time = median(async || read_shards(&*store, &shards).await, bytes).await?;
        results.push((format!("Parquet shards in {name}"), time));
        put_objects(&*store, &pictures).await?;
        let time = median(async || read_objects(&*store, &pictures).await, bytes).await?;
        results.push((format!("one object each in {name}"), time));
        let keys = pictures.iter().map(|p| ObjectKey::normalized(&p.id));
        for key in shards.into_iter().chain(keys) {
            store.delete(&key).await?;
        }
    }
    for (name, address) in &catalogs {
        let catalog = catalog::open(address).await?;
        put_documents(&*catalog, &pictures).await?;
        let time = median(async || read_documents(&*catalog, &pictures).await, bytes).await?;
        results.push((format!("one document each in {name}"), time));
        if address.starts_with("mongodb:") {
            let client = mongodb::Client::with_uri_str(address).await?;
            let database = client.default_database();
            database.context("it names a database")?.drop().await?;
        }
    }
    let first = results.first().map_or(Duration::ZERO, |(_, time)| *time);
    for (name, time) in &results {
        let seconds = time.as_secs_f64();
        println!(
            "{name:<34} {:>9.0} {:>7.0} {:>7.2}",
            IMAGES as f64 / seconds,
            megabytes / seconds,
            first.as_secs_f64() / seconds
        );
    }
    Ok(())
}

/// Noise between the marks of a JPEG, which no store can make smaller.
fn draw() -> Vec<Picture> {
    let mut random = StdRng::seed_from_u64(42);
    let mut picture = || {
        let mut bytes = vec![0; random.random_range(SIZES)];
        random.fill(&mut bytes[..]);
        bytes[..3].copy_from_slice(&[0xff, 0xd8, 0xff]);
        Picture {
            id: ImageId::of(&bytes),
            bytes: bytes.into(),
        }
    };
    (0..IMAGES).map(|_| picture()).collect()
}

/// Every epoch must read all `bytes` of all images.
async fn median(mut epoch: impl AsyncFnMut() -> Result<usize>, bytes: usize) -> Result<Duration> {
    let mut times = vec![];
    for _ in 0..EPOCHS {
        let begin = Instant::now();
        let read = epoch().await?;
        times.push(begin.elapsed());
        ensure!(read == bytes, "{read} bytes were read, not {bytes}");
    }
    times.sort_unstable();
    Ok(times[EPOCHS / 2])
}

fn shuffled(pictures: &[Picture]) -> Vec<ImageId> {
    let mut ids: Vec<_> = pictures.iter().map(|picture| picture.id).collect();
    ids.shuffle(&mut rand::rng());
    ids
}

async fn put_shards(store: &dyn ObjectStore, pictures: &[Picture]) -> Result<Vec<ObjectKey>> {
    let mut keys = vec![];
    for (number, rows) in pictures.chunks(SHARD_ROWS).enumerate() {
        let key: ObjectKey = format!("shards/train-{number:05}.parquet").parse()?;
        store.put(&key, shard(rows)?).await?;
        keys.push(key);
    }
    Ok(keys)
}

/// Writes the shards as the storer does: JPEGs stay as they are.
fn shard(rows: &[Picture]) -> Result<Bytes> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("bytes", DataType::Binary, false),
        Field::new("label", DataType::Int64, false),
    ]));
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
    for group in rows.chunks(GROUP_ROWS) {
        let bytes = BinaryArray::from_iter_values(group.iter().map(|row| &row.bytes));
        let labels = Int64Array::from_iter_values((0..group.len() as i64).map(|n| n % 2));
        let columns: Vec<ArrayRef> = vec![Arc::new(bytes), Arc::new(labels)];
        writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
        writer.flush()?;
    }
    Ok(writer.into_inner()?.into())
}

async fn read_shards(store: &dyn ObjectStore, shards: &[ObjectKey]) -> Result<usize> {
    let mut read = 0;
    for key in shards {
        let parquet = store.get(key).await?;
        for batch in ParquetRecordBatchReaderBuilder::try_new(parquet)?.build()? {
            let batch = batch?;
            let column = batch.column_by_name("bytes").context("a column")?;
            let column = column.as_any().downcast_ref::<BinaryArray>();
            let images = column.context("a column of bytes")?.iter().flatten();
            read += images
                .map(|bytes| Bytes::copy_from_slice(bytes).len())
                .sum::<usize>();
        }
    }
    Ok(read)
}

async fn put_objects(store: &dyn ObjectStore, pictures: &[Picture]) -> Result<()> {
    let puts = pictures.iter().map(|picture| async {
        let key = ObjectKey::normalized(&picture.id);
        store.put(&key, picture.bytes.clone()).await
    });
    let puts = stream::iter(puts).buffer_unordered(OBJECTS_AT_ONCE);
    Ok(puts.try_collect().await?)
}

async fn read_objects(store: &dyn ObjectStore, pictures: &[Picture]) -> Result<usize> {
    let gets = shuffled(pictures).into_iter().map(|id| async move {
        let key = ObjectKey::normalized(&id);
        Ok(store.get(&key).await?.len())
    });
    let gets = stream::iter(gets).buffer_unordered(OBJECTS_AT_ONCE);
    gets.try_fold(0, async |read, bytes| Ok(read + bytes)).await
}

async fn put_documents(catalog: &dyn Catalog, pictures: &[Picture]) -> Result<()> {
    let job = JobId::draw();
    let label: Label = "with_mask".parse()?;
    let puts = pictures.iter().map(|picture| {
        let source = Location::Path(format!("/faces/{}.jpg", picture.id).into());
        let document = ImageDocument {
            collection: CollectionName::default(),
            job,
            image: picture.id,
            candidate: CandidateId::of(job, &source),
            source,
            binary: picture.bytes.clone(),
            width: 224,
            height: 224,
            label: label.clone(),
            label_origin: LabelOrigin::Source,
            prediction: None,
            measurements: Measurements {
                format: Format::Jpeg,
                width: 224,
                height: 224,
                bytes: Some(48_211),
                phash: 0,
                phash_mirrored: 0,
                brightness: 0.5,
                contrast: 0.2,
                sharpness: 100.0,
                faces: None,
                fingerprint: None,
            },
        };
        async move { catalog.put_image(&document).await.map(drop) }
    });
    let puts = stream::iter(puts).buffer_unordered(OBJECTS_AT_ONCE);
    Ok(puts.try_collect().await?)
}

async fn read_documents(catalog: &dyn Catalog, pictures: &[Picture]) -> Result<usize> {
    let collection = CollectionName::default();
    let mut read = 0;
    for ids in shuffled(pictures).chunks(DOCUMENTS_AT_ONCE) {
        let images = catalog.image_bytes(&collection, ids).await?;
        read += images.iter().map(Bytes::len).sum::<usize>();
    }
    Ok(read)
}
