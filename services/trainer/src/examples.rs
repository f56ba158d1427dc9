//! The images of a dataset, held ready for every epoch.
//!
//! Decoding a JPEG takes longer than all other preparation, so each is decoded once and its
//! pixels are kept at the size that training needs. Images that do not fit into the memory
//! for them stay JPEGs, in a temporary file.

use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt, sync::Arc, thread};

use anyhow::{Context, Result};
use bytes::Bytes;
use maskline_dataset::{Manifest, Original, Row, Shard, Split};
use maskline_messages::{DatasetId, ImageId, JobId, View};
use maskline_storage::ObjectStore;
use maskline_vision::decode::{self, Limits};
use rayon::{
    ThreadPool, ThreadPoolBuilder,
    iter::{IntoParallelRefIterator, ParallelIterator},
};
use sha2::{Digest, Sha256};

use crate::{
    permanent_error::PermanentError,
    shown::{Cutter, Faces, InputShape, Shown},
};

/// How many times as large as a face's square the picture is that is kept for training. It is
/// what a random crop may reach beyond the square.
const FACE_BORDER: f32 = 1.15;

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
    /// Fetches and decodes all shards, which blocks the thread that it runs on. `input` is that of
    /// the network, and `memory` the bytes that decoded images may take.
    ///
    /// # Errors
    /// [`PermanentError::DamagedDataset`] if a shard is missing or damaged. Of the shards of the
    /// test split, which are read in the end, only the sizes are looked at.
    pub(crate) async fn load(
        objects: &Arc<dyn ObjectStore>,
        manifest: Manifest,
        input: InputShape,
        memory: u64,
    ) -> Result<Self> {
        Self::load_splits(
            objects,
            manifest,
            input,
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
        input: InputShape,
        memory: u64,
    ) -> Result<Self> {
        Self::load_splits(objects, manifest, input, memory, &[Split::Validation]).await
    }

    async fn load_splits(
        objects: &Arc<dyn ObjectStore>,
        manifest: Manifest,
        input: InputShape,
        memory: u64,
        splits: &[Split],
    ) -> Result<Self> {
        let mut loader = Loader {
            memory,
            threads: image_threads()?,
        };
        check_sizes(objects, &manifest, Split::Test).await?;
        let mut training = ExampleSet::for_training(&manifest, input)?;
        let mut validation = ExampleSet::as_shown(&manifest, input)?;
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

/// Fetches the images of one shard, to be used once. They stay JPEGs, and each is decoded when it is
/// needed.
///
/// # Errors
/// [`PermanentError::DamagedDataset`] if the shard is missing or damaged.
pub(crate) async fn read_shard(
    objects: &Arc<dyn ObjectStore>,
    manifest: &Manifest,
    shard: &Shard,
    input: InputShape,
) -> Result<ExampleSet> {
    let mut set = ExampleSet::as_shown(manifest, input)?;
    for row in fetch(objects, manifest, shard).await? {
        let picture = Picture::Jpeg(row.jpeg.clone());
        set.push(&row, Faces::of_row(&row), picture);
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
    cutter: Cutter,
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
    /// `None` if nobody looked for them.
    pub(crate) faces: Option<Faces>,
    /// The image as it was fetched, if that is known.
    pub(crate) original: Option<Original>,
    picture: Picture,
}

enum Picture {
    Decoded(Shown<'static>),
    /// In memory for a short time.
    Jpeg(Bytes),
    /// A JPEG in the temporary file.
    Spilled {
        offset: u64,
        bytes: usize,
    },
}

impl ExampleSet {
    /// A set whose pictures are kept larger than the network's input, so that a random crop of that
    /// size is not enlarged, and with a border around faces.
    fn for_training(manifest: &Manifest, input: InputShape) -> Result<Self> {
        let border = match input.view {
            View::CloseUp | View::Face => FACE_BORDER,
            View::Whole => 1.0,
        };
        let side = (input.pixels * 8).div_ceil(7);
        let side = (side as f32 * border).ceil() as u32;
        Ok(Self::empty(
            manifest,
            Cutter::new(input.view, side, border)?,
        ))
    }

    /// A set whose pictures are kept as the network is shown them.
    fn as_shown(manifest: &Manifest, input: InputShape) -> Result<Self> {
        let cutter = Cutter::new(input.view, input.pixels, 1.0)?;
        Ok(Self::empty(manifest, cutter))
    }

    fn empty(manifest: &Manifest, cutter: Cutter) -> Self {
        Self {
            dataset: manifest.dataset,
            cutter,
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

    fn push(&mut self, row: &Row, faces: Option<Faces>, picture: Picture) {
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
            faces,
            original: row.original,
            picture,
        });
    }

    /// The picture of the example at `index`, a square.
    pub(crate) fn picture(&self, index: usize) -> Result<Shown<'_>> {
        let example = &self.examples[index];
        let decode = |jpeg: &[u8]| {
            let (shown, _) = self.decode(&example.image, jpeg, example.faces)?;
            anyhow::Ok(shown)
        };
        match &example.picture {
            Picture::Decoded(shown) => Ok(shown.borrowed()),
            Picture::Jpeg(jpeg) => decode(jpeg),
            &Picture::Spilled { offset, bytes } => {
                let file = self.spill.as_ref();
                let file = file.context("there is no temporary file with this image")?;
                let mut jpeg = vec![0; bytes];
                file.read_exact_at(&mut jpeg, offset)
                    .context("the temporary file with the images can't be read")?;
                decode(&jpeg)
            }
        }
    }

    /// Decodes an image. Returns its faces as well, if they are known then.
    fn decode(
        &self,
        image: &ImageId,
        jpeg: &[u8],
        faces: Option<Faces>,
    ) -> Result<(Shown<'static>, Option<Faces>), PermanentError> {
        match decode::decode(jpeg, &Limits::default()) {
            Ok(decoded) => Ok(self.cutter.cut(&decoded.picture, faces)),
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
        let each = 3 * u64::from(set.cutter.side).pow(2);
        let fitting = usize::try_from(self.memory / each).unwrap_or(usize::MAX);
        let (kept, spilled) = rows.split_at(fitting.min(rows.len()));
        self.memory -= each * kept.len() as u64;
        let decode = |row: &Row| set.decode(&row.image, &row.jpeg, Faces::of_row(row));
        let decoded: Result<Vec<_>, _> = self
            .threads
            .install(|| kept.par_iter().map(decode).collect());
        // Faces that are not known are looked for once, and not whenever the image is read.
        let faces = |row: &Row| match Faces::of_row(row) {
            None if set.cutter.looks_for_faces() => decode(row).map(|(_, faces)| faces),
            known => Ok(known),
        };
        let faces: Result<Vec<_>, _> = self
            .threads
            .install(|| spilled.par_iter().map(faces).collect());
        let faces = faces?;
        for (row, (shown, faces)) in kept.iter().zip(decoded?) {
            set.push(row, faces, Picture::Decoded(shown));
        }
        for (row, faces) in spilled.iter().zip(faces) {
            let picture = set
                .spill(&row.jpeg)
                .context("the images don't fit in memory, and a temporary file can't be written")?;
            set.push(row, faces, picture);
        }
        Ok(())
    }
}
