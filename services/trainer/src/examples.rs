//! The images of a dataset, at hand for every epoch.
//!
//! Decoding a JPEG takes longer than everything else that is done to an image,
//! so it is done once, and the pixels are kept at the size that training needs.
//! What does not fit in the memory allowed stays a JPEG, in a temporary file.

use std::{borrow::Cow, fs::File, io, os::unix::fs::FileExt, sync::Arc, thread};

use anyhow::{Context, Result};
use image::RgbImage;
use maskline_dataset::{Manifest, Row, Shard, Split};
use maskline_messages::{DatasetId, ImageId};
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

use crate::hopeless::Hopeless;

/// A dataset, ready to be trained on.
pub struct Examples {
    pub manifest: Manifest,
    pub training: ExampleSet,
    /// At the network's own size, prepared as for a prediction.
    pub validation: ExampleSet,
    /// The threads that prepare images: their own, so that the network's
    /// computing does not wait behind a picture.
    pub threads: ThreadPool,
}

impl Examples {
    /// Fetches and decodes all shards, which blocks the thread that it runs on.
    /// `pixels` is the side of the network's input, `memory` what decoded images
    /// may take, in bytes.
    pub async fn load(
        objects: &Arc<dyn ObjectStore>,
        manifest: Manifest,
        pixels: u32,
        memory: u64,
    ) -> Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let mut loader = Loader {
            memory,
            threads: ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|index| format!("images-{index}"))
                .build()?,
        };
        let mut training = ExampleSet::empty(&manifest, training_side(pixels));
        let mut validation = ExampleSet::empty(&manifest, pixels);
        for (split, set) in [
            (Split::Train, &mut training),
            (Split::Validation, &mut validation),
        ] {
            for shard in manifest.split(split).map_or(&[][..], |split| &split.shards) {
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

/// The side at which training images are kept: a crop of the network's size
/// still has its own pixels.
fn training_side(pixels: u32) -> u32 {
    (pixels * 8).div_ceil(7)
}

async fn fetch(
    objects: &Arc<dyn ObjectStore>,
    manifest: &Manifest,
    shard: &Shard,
) -> Result<Vec<Row>> {
    let damaged = |problem: String| Hopeless::DamagedDataset {
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

/// The images of one side, all at one size.
pub struct ExampleSet {
    dataset: DatasetId,
    /// The side of its pictures, in pixels.
    side: u32,
    examples: Vec<Example>,
    /// The JPEGs that are decoded when they are needed.
    filed: Option<File>,
    filed_bytes: u64,
}

/// One image and its class.
pub struct Example {
    pub image: ImageId,
    /// Index into the dataset's classes.
    pub class: usize,
    picture: Picture,
}

enum Picture {
    Decoded(RgbImage),
    Filed { at: u64, bytes: usize },
}

impl ExampleSet {
    fn empty(manifest: &Manifest, side: u32) -> Self {
        Self {
            dataset: manifest.dataset,
            side,
            examples: vec![],
            filed: None,
            filed_bytes: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.examples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The class of each example, an index into the dataset's classes.
    pub fn classes(&self) -> impl Iterator<Item = usize> {
        self.examples.iter().map(|example| example.class)
    }

    pub fn example(&self, index: usize) -> &Example {
        &self.examples[index]
    }

    /// The picture of the example at `index`, a square.
    pub fn picture(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
        let example = &self.examples[index];
        match &example.picture {
            Picture::Decoded(picture) => Ok(Cow::Borrowed(picture)),
            &Picture::Filed { at, bytes } => {
                let file = self.filed.as_ref();
                let file = file.context("an image is filed, but there is no file")?;
                let mut jpeg = vec![0; bytes];
                file.read_exact_at(&mut jpeg, at)
                    .context("the temporary file with the images can't be read")?;
                Ok(Cow::Owned(self.decode(&example.image, &jpeg)?))
            }
        }
    }

    fn decode(&self, image: &ImageId, jpeg: &[u8]) -> Result<RgbImage, Hopeless> {
        match decode::decode(jpeg, &Limits::default()) {
            Ok(decoded) => Ok(resize::square(&decoded.picture, self.side)),
            Err(reason) => Err(Hopeless::DamagedDataset {
                dataset: self.dataset,
                problem: format!("image {image} can't be decoded: {reason}"),
            }),
        }
    }

    fn file(&mut self, jpeg: &[u8]) -> io::Result<Picture> {
        if self.filed.is_none() {
            self.filed = Some(tempfile::tempfile()?);
        }
        let at = self.filed_bytes;
        if let Some(file) = &self.filed {
            file.write_all_at(jpeg, at)?;
        }
        self.filed_bytes += jpeg.len() as u64;
        let bytes = jpeg.len();
        Ok(Picture::Filed { at, bytes })
    }
}

struct Loader {
    /// Bytes that decoded images may still take.
    memory: u64,
    threads: ThreadPool,
}

impl Loader {
    fn add(&mut self, split: &mut ExampleSet, rows: Vec<Row>) -> Result<()> {
        let each = 3 * u64::from(split.side).pow(2);
        let fitting = usize::try_from(self.memory / each).unwrap_or(usize::MAX);
        let (kept, filed) = rows.split_at(fitting.min(rows.len()));
        self.memory -= each * kept.len() as u64;
        let decode = |row: &Row| split.decode(&row.image, &row.jpeg);
        let decoded: Result<Vec<_>, _> = self
            .threads
            .install(|| kept.par_iter().map(decode).collect());
        let mut pictures: Vec<Picture> = decoded?.into_iter().map(Picture::Decoded).collect();
        for row in filed {
            let picture = split
                .file(&row.jpeg)
                .context("the images don't fit in memory, and a temporary file can't be written")?;
            pictures.push(picture);
        }
        let examples = rows.iter().zip(pictures).map(|(row, picture)| Example {
            image: row.image,
            class: row.class,
            picture,
        });
        split.examples.extend(examples);
        Ok(())
    }
}
