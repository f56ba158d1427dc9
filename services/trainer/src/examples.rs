//! The images of a dataset, held ready for every epoch.
//!
//! Decoding a JPEG takes longer than all other preparation, so each is decoded once and its
//! pixels are kept at the size that training needs. Images that do not fit into the memory
//! for them stay JPEGs, in a temporary file.

use std::{
    borrow::Cow, collections::HashMap, fs::File, io, os::unix::fs::FileExt, sync::Arc, thread,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use image::RgbImage;
use maskline_dataset::{Manifest, Row, Shard, Split};
use maskline_messages::{DatasetId, ImageId, JobId};
use maskline_storage::ObjectStore;
use maskline_vision::{
    decode::{self, Limits},
    resize,
};
use rayon::{
    ThreadPool, ThreadPoolBuilder,
    iter::{IntoParallelRefIterator, ParallelIterator},
};
use sha2::{Digest, Sha256};

use crate::permanent_error::PermanentError;

/// The images of a dataset, ready for training.
pub(crate) struct Examples {
    pub(crate) manifest: Manifest,
    pub(crate) training: ExampleSet,
    /// These are kept at the size of the network's input.
    pub(crate) validation: ExampleSet,
    /// The threads that prepare images. They are not those that compute the network, which
    /// would have to wait for pictures otherwise.
    pub(crate) threads: ThreadPool,
}

impl Examples {
    /// Fetches and decodes all shards, which blocks the thread that it runs on. `pixels` is
    /// the side of the network's input, and `memory` the bytes that decoded images may take.
    ///
    /// # Errors
    /// [`PermanentError::DamagedDataset`] if a shard is missing or damaged. Of the shards of the
    /// test split, which are read in the end, only the sizes are looked at.
    pub(crate) async fn load(
        objects: &Arc<dyn ObjectStore>,
        manifest: Manifest,
        pixels: u32,
        memory: u64,
    ) -> Result<Self> {
        Self::load_splits(
            objects,
            manifest,
            pixels,
            memory,
            &[Split::Train, Split::Validation],
        )
        .await
    }

    /// Fetches and decodes the validation images alone, as [`Self::load`] does. There are no
    /// training images.
    ///
    /// # Errors
    /// See [`Self::load`].
    pub(crate) async fn load_validation(
        objects: &Arc<dyn ObjectStore>,
        manifest: Manifest,
        pixels: u32,
        memory: u64,
    ) -> Result<Self> {
        Self::load_splits(objects, manifest, pixels, memory, &[Split::Validation]).await
    }

    async fn load_splits(
        objects: &Arc<dyn ObjectStore>,
        manifest: Manifest,
        pixels: u32,
        memory: u64,
        splits: &[Split],
    ) -> Result<Self> {
        let mut loader = Loader {
            memory,
            threads: image_threads()?,
        };
        check_sizes(objects, &manifest, Split::Test).await?;
        let mut training = ExampleSet::empty(&manifest, training_side(pixels));
        let mut validation = ExampleSet::empty(&manifest, pixels);
        for (split, set) in [
            (Split::Train, &mut training),
            (Split::Validation, &mut validation),
        ] {
            if !splits.contains(&split) {
                continue;
            }
            for shard in shards(&manifest, split) {
                let rows = fetch(objects, &manifest, shard).await?;
                loader.add(set, rows)?;
            }
        }
        Ok(Self {
            manifest,
            training,
            validation,
            threads: loader.threads,
        })
    }
}

/// Threads that prepare images, one for each core.
pub(crate) fn image_threads() -> Result<ThreadPool> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = ThreadPoolBuilder::new().num_threads(threads);
    Ok(threads
        .thread_name(|index| format!("images-{index}"))
        .build()?)
}

/// The shards of a split.
pub(crate) fn shards(manifest: &Manifest, split: Split) -> &[Shard] {
    manifest.split(split).map_or(&[], |split| &split.shards)
}

/// Fetches the images of one shard, to be used once. They stay JPEGs, and each is decoded at the
/// side `pixels` when it is needed.
///
/// # Errors
/// [`PermanentError::DamagedDataset`] if the shard is missing or damaged.
pub(crate) async fn read_shard(
    objects: &Arc<dyn ObjectStore>,
    manifest: &Manifest,
    shard: &Shard,
    pixels: u32,
) -> Result<ExampleSet> {
    let mut set = ExampleSet::empty(manifest, pixels);
    for row in fetch(objects, manifest, shard).await? {
        let picture = Picture::Jpeg(row.jpeg.clone());
        set.push(&row, picture);
    }
    Ok(set)
}

/// Looks whether all shards of a split are there, before much time is spent.
async fn check_sizes(
    objects: &Arc<dyn ObjectStore>,
    manifest: &Manifest,
    split: Split,
) -> Result<()> {
    for shard in shards(manifest, split) {
        let size = objects.size(&manifest.shard_key(shard)?).await?;
        if size != Some(shard.bytes) {
            let found = size.map_or("is missing".to_owned(), |size| {
                format!("has {size} bytes, not {}", shard.bytes)
            });
            return Err(PermanentError::DamagedDataset {
                dataset: manifest.dataset,
                problem: format!("{} {found}", shard.file),
            }
            .into());
        }
    }
    Ok(())
}

/// The side at which training images are kept. It is larger than the network's input, so
/// that a random crop of that size is not enlarged.
fn training_side(pixels: u32) -> u32 {
    (pixels * 8).div_ceil(7)
}

/// Fetches a shard and checks its SHA-256.
async fn fetch(
    objects: &Arc<dyn ObjectStore>,
    manifest: &Manifest,
    shard: &Shard,
) -> Result<Vec<Row>> {
    let damaged = |problem: String| PermanentError::DamagedDataset {
        dataset: manifest.dataset,
        problem: format!("{}: {problem}", shard.file),
    };
    let parquet = match objects.get(&manifest.shard_key(shard)?).await {
        Err(missing) if missing.is_not_found() => {
            return Err(damaged(missing.to_string()).into());
        }
        parquet => parquet?,
    };
    let (sha256, classes) = (shard.sha256.clone(), manifest.classes.len());
    let read = tokio::task::spawn_blocking(move || {
        let found = hex::encode(Sha256::digest(&parquet));
        anyhow::ensure!(found == sha256, "its SHA-256 is {found}, not {sha256}");
        Ok(maskline_dataset::read(parquet, classes)?)
    });
    Ok(read.await?.map_err(|error| damaged(format!("{error:#}")))?)
}

/// The images of one split, all at the same size.
pub(crate) struct ExampleSet {
    dataset: DatasetId,
    /// The side of the pictures, in pixels.
    side: u32,
    examples: Vec<Example>,
    /// The temporary file with the JPEGs that are decoded whenever they are needed.
    spill: Option<File>,
    spilled_bytes: u64,
    /// The different lists of jobs that images have. There are few, and an example has the
    /// number of its list.
    job_lists: Vec<Vec<JobId>>,
    numbers: HashMap<Vec<JobId>, u32>,
}

/// One image and its class.
pub(crate) struct Example {
    pub(crate) image: ImageId,
    /// An index into the dataset's classes.
    pub(crate) class: usize,
    /// The group of images that look the same.
    pub(crate) group: ImageId,
    /// The number of its list of jobs.
    jobs: u32,
    picture: Picture,
}

enum Picture {
    Decoded(RgbImage),
    /// In memory for a short time.
    Jpeg(Bytes),
    /// A JPEG in the temporary file.
    Spilled {
        offset: u64,
        bytes: usize,
    },
}

impl ExampleSet {
    fn empty(manifest: &Manifest, side: u32) -> Self {
        Self {
            dataset: manifest.dataset,
            side,
            examples: vec![],
            spill: None,
            spilled_bytes: 0,
            job_lists: vec![],
            numbers: HashMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.examples.len()
    }

    /// The class of each example, an index into the dataset's classes.
    pub(crate) fn classes(&self) -> impl Iterator<Item = usize> {
        self.examples.iter().map(|example| example.class)
    }

    pub(crate) fn example(&self, index: usize) -> &Example {
        &self.examples[index]
    }

    /// The jobs whose sources have the example at `index`, as far as they are known.
    pub(crate) fn jobs(&self, index: usize) -> &[JobId] {
        &self.job_lists[self.examples[index].jobs as usize]
    }

    fn push(&mut self, row: &Row, picture: Picture) {
        let jobs = match self.numbers.get(&row.jobs) {
            Some(&number) => number,
            None => {
                let number = self.job_lists.len() as u32;
                self.job_lists.push(row.jobs.clone());
                self.numbers.insert(row.jobs.clone(), number);
                number
            }
        };
        self.examples.push(Example {
            image: row.image,
            class: row.class,
            group: row.group,
            jobs,
            picture,
        });
    }

    /// The picture of the example at `index`, a square.
    pub(crate) fn picture(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
        let example = &self.examples[index];
        match &example.picture {
            Picture::Decoded(picture) => Ok(Cow::Borrowed(picture)),
            Picture::Jpeg(jpeg) => Ok(Cow::Owned(self.decode(&example.image, jpeg)?)),
            &Picture::Spilled { offset, bytes } => {
                let file = self.spill.as_ref();
                let file = file.context("there is no temporary file with this image")?;
                let mut jpeg = vec![0; bytes];
                file.read_exact_at(&mut jpeg, offset)
                    .context("the temporary file with the images can't be read")?;
                Ok(Cow::Owned(self.decode(&example.image, &jpeg)?))
            }
        }
    }

    fn decode(&self, image: &ImageId, jpeg: &[u8]) -> Result<RgbImage, PermanentError> {
        match decode::decode(jpeg, &Limits::default()) {
            Ok(decoded) => Ok(resize::square(&decoded.picture, self.side)),
            Err(reason) => Err(PermanentError::DamagedDataset {
                dataset: self.dataset,
                problem: format!("image {image} can't be decoded: {reason}"),
            }),
        }
    }

    /// Writes a JPEG to the temporary file.
    fn spill(&mut self, jpeg: &[u8]) -> io::Result<Picture> {
        if self.spill.is_none() {
            self.spill = Some(tempfile::tempfile()?);
        }
        let offset = self.spilled_bytes;
        if let Some(file) = &self.spill {
            file.write_all_at(jpeg, offset)?;
        }
        self.spilled_bytes += jpeg.len() as u64;
        let bytes = jpeg.len();
        Ok(Picture::Spilled { offset, bytes })
    }
}

struct Loader {
    /// The bytes that decoded images may still take.
    memory: u64,
    threads: ThreadPool,
}

impl Loader {
    /// Adds the rows of a shard: as many as fit into the memory decoded, the others as JPEGs.
    fn add(&mut self, set: &mut ExampleSet, rows: Vec<Row>) -> Result<()> {
        let each = 3 * u64::from(set.side).pow(2);
        let fitting = usize::try_from(self.memory / each).unwrap_or(usize::MAX);
        let (kept, spilled) = rows.split_at(fitting.min(rows.len()));
        self.memory -= each * kept.len() as u64;
        let decode = |row: &Row| set.decode(&row.image, &row.jpeg);
        let decoded: Result<Vec<_>, _> = self
            .threads
            .install(|| kept.par_iter().map(decode).collect());
        let mut pictures: Vec<Picture> = decoded?.into_iter().map(Picture::Decoded).collect();
        for row in spilled {
            let picture = set
                .spill(&row.jpeg)
                .context("the images don't fit in memory, and a temporary file can't be written")?;
            pictures.push(picture);
        }
        for (row, picture) in rows.iter().zip(pictures) {
            set.push(row, picture);
        }
        Ok(())
    }
}
