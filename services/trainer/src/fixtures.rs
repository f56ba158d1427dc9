//! Datasets of drawn pictures for the tests.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use image::{Rgb, RgbImage};
use maskline_dataset::{
    Example, ExampleProvenance, FaceCounts, LAYOUT_VERSION, Manifest, Row, Shard, Split,
    SplitManifest,
};
use maskline_messages::{
    Bounds, DatasetId, Face, ImageId, JobId, Label, ObjectKey, SplitSettings, View,
};
use maskline_models::device::{self, Choice, Compute};
use maskline_storage::ObjectStore;
use maskline_test_support::{
    embedded::Embedded,
    messages::{face, label},
};
use maskline_vision::encode;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};

use crate::{examples::Examples, manifest, resources::Resources, shown::InputShape};

/// The number of rows in a shard: few, so that a drawn dataset has several shards.
const SHARD_ROWS: usize = 20;

/// A guard to hold while Burn draws random numbers, because it has one generator for the
/// whole process.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    COMPUTING.lock().await
}

static COMPUTING: Mutex<()> = Mutex::const_new(());

pub(crate) fn compute() -> Compute {
    device::choose(Choice::Cpu).expect("every machine has a CPU")
}

/// What a trainer needs that works with these stores, on the CPU.
pub(crate) fn resources(store: &Embedded) -> Resources {
    Resources {
        objects: store.objects.clone(),
        library: store.catalog.clone(),
        studies: store.catalog.clone(),
        jobs: store.catalog.clone(),
        leases: store.catalog.clone(),
        compute: compute(),
        image_memory: 1 << 30,
    }
}

/// The number of pictures to draw of each class, and how hard they are to tell apart.
pub(crate) struct Drawing {
    pub(crate) classes: [&'static str; 2],
    pub(crate) training: [usize; 2],
    pub(crate) validation: [usize; 2],
    pub(crate) test: [usize; 2],
    /// The jobs of each picture of a split: the first of them have the first list, and so on.
    /// There are none for the others.
    pub(crate) jobs: BTreeMap<Split, Vec<Vec<JobId>>>,
    /// The largest change of a pixel's value, to either side.
    pub(crate) noise: u8,
    /// Whether each picture is recorded with a face, where its square is. If not, nobody has looked
    /// for faces.
    pub(crate) faces: bool,
}

impl Default for Drawing {
    fn default() -> Self {
        Self {
            classes: ["blue", "red"],
            training: [24, 24],
            validation: [8, 8],
            test: [0, 0],
            jobs: BTreeMap::new(),
            noise: 60,
            faces: false,
        }
    }
}

impl Drawing {
    fn classes(&self) -> [Label; 2] {
        self.classes.map(label)
    }

    /// Draws a dataset and freezes it as the storer does.
    pub(crate) async fn freeze(&self, objects: &Arc<dyn ObjectStore>) -> DatasetId {
        let mut random = StdRng::seed_from_u64(7);
        let mut splits = BTreeMap::new();
        let content = (
            self.training,
            self.validation,
            self.test,
            &self.jobs,
            self.faces,
        );
        let id = DatasetId::of(format!("{content:?}").as_bytes());
        for (split, counts) in [
            (Split::Train, self.training),
            (Split::Validation, self.validation),
            (Split::Test, self.test),
        ] {
            let mut jobs = self
                .jobs
                .get(&split)
                .cloned()
                .unwrap_or_default()
                .into_iter();
            let mut rows = vec![];
            for index in 0..counts[0].max(counts[1]) {
                for (class, _) in counts
                    .iter()
                    .enumerate()
                    .filter(|&(_, &count)| index < count)
                {
                    let (picture, square) = draw(class, self.noise, &mut random);
                    let jpeg = Bytes::from(encode::jpeg(&picture, 90));
                    let image = ImageId::of(&jpeg);
                    rows.push(Row {
                        image,
                        class,
                        jpeg,
                        group: image,
                        jobs: jobs.next().unwrap_or_default(),
                        width: SIDE,
                        height: SIDE,
                        original: None,
                        faces: self.faces.then(|| vec![square]),
                    });
                }
            }
            let mut shards = vec![];
            let count = rows.len().div_ceil(SHARD_ROWS);
            for (index, rows) in rows.chunks(SHARD_ROWS).enumerate() {
                let parquet = parquet(rows, &self.classes());
                let file = split.shard_file(index, count);
                let key = ObjectKey::dataset_file(&id, &file).unwrap();
                shards.push(Shard {
                    file,
                    rows: rows.len() as u64,
                    bytes: parquet.len() as u64,
                    sha256: hex::encode(Sha256::digest(&parquet)),
                });
                objects.put(&key, parquet).await.unwrap();
            }
            let by_class = self.classes().into_iter();
            let mut faces = FaceCounts::default();
            rows.iter().for_each(|row| faces.add(row.faces.as_deref()));
            let manifest = SplitManifest {
                images: rows.len() as u64,
                by_class: by_class.zip(counts.map(|count| count as u64)).collect(),
                faces: Some(faces),
                shards,
            };
            splits.insert(split, manifest);
        }
        let manifest = Manifest {
            version: LAYOUT_VERSION,
            dataset: id,
            classes: self.classes().to_vec(),
            splits,
            split_settings: SplitSettings::default(),
            near_duplicate_groups: 3,
            set_aside: 1,
        };
        let key = ObjectKey::manifest(&id);
        let json = manifest.to_json().into();
        objects.put(&key, json).await.unwrap();
        id
    }
}

/// Loads the images of a dataset, with this much memory for those that are decoded.
pub(crate) async fn examples(
    objects: &Arc<dyn ObjectStore>,
    dataset: &DatasetId,
    pixels: u32,
    memory: u64,
) -> Examples {
    let manifest = manifest::read(objects, dataset).await.unwrap();
    let input = InputShape {
        pixels,
        view: View::Face,
    };
    let examples = Examples::load(objects, manifest, input, memory).await;
    examples.unwrap()
}

/// The side of the pictures, in pixels.
const SIDE: u32 = 40;

/// The side of the square in a picture, in pixels.
const SQUARE: u32 = 24;

/// Draws a noisy square, blue for class 0 and red for class 1, on a noisy grey ground. Returns the
/// square as a face, too.
fn draw(class: usize, noise: u8, random: &mut StdRng) -> (RgbImage, Face) {
    let color: [i16; 3] = if class == 0 {
        [90, 90, 160]
    } else {
        [160, 90, 90]
    };
    let (left, top) = (random.random_range(2..14), random.random_range(2..14));
    let share = |pixels: u32| pixels as f32 / SIDE as f32;
    let face = Face {
        bounds: Bounds {
            left: share(left),
            top: share(top),
            width: share(SQUARE),
            height: share(SQUARE),
        },
        ..face()
    };
    let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let inside = (left..left + SQUARE).contains(&x) && (top..top + SQUARE).contains(&y);
        let base = if inside { color } else { [120; 3] };
        let noise = i16::from(noise);
        Rgb(base.map(|value| (value + random.random_range(-noise..=noise)).clamp(0, 255) as u8))
    });
    (picture, face)
}

/// Writes rows into a complete shard.
fn parquet(rows: &[Row], classes: &[Label]) -> Bytes {
    let examples = rows.iter().map(|row| Example {
        image: row.image,
        class: row.class,
        jpeg: row.jpeg.clone(),
        width: SIDE,
        height: SIDE,
        original: row.original,
        faces: row.faces.clone(),
        group: Some(row.group),
        provenance: ExampleProvenance {
            jobs: row.jobs.clone(),
            ..ExampleProvenance::default()
        },
    });
    maskline_dataset::shard(classes, &examples.collect::<Vec<_>>()).unwrap()
}
