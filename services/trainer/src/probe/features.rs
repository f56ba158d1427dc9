//! What the pretrained network sees in each training image. It is computed once and kept as
//! objects of the dataset, so that it is deleted with the dataset's images. The next version of
//! the collection takes from there what it has, too.

use std::{collections::HashMap, sync::Arc, thread};

use anyhow::{Context, Result, bail};
use maskline_dataset::{Manifest, Shard, Split};
use maskline_messages::{DatasetId, ImageId, ObjectKey};
use maskline_models::{Network, device, input};
use maskline_pretrained::Backbone;
use maskline_storage::{ObjectStore, catalog::Library, lease::LeaseProgress};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tokio::runtime::Handle;

use super::BATCH;
use crate::{
    batches::{self, Preparation},
    evaluation::Evaluator,
    examples::{self, ExampleSet},
    parts,
    regression::Rows,
    shortcut::Files,
    shown::InputShape,
};

/// The most earlier versions that are looked at for features.
const MOST_VERSIONS: usize = 16;

/// What features are computed from. Features of different sets have nothing to do with each
/// other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FeatureSet(String);

impl FeatureSet {
    /// The features that these layers give for such an input.
    pub(super) fn new(backbone: &Backbone, input: InputShape) -> Self {
        let InputShape { pixels, view } = input;
        Self(format!("{}-{view}-{pixels}", &backbone.sha256[..16]))
    }
}

/// Features of training images, in the order of the dataset.
pub(super) struct Features {
    pub(super) rows: Rows,
    pub(super) images: Vec<ImageId>,
    /// The group of each image.
    pub(super) groups: Vec<ImageId>,
    /// How many of them were computed now.
    pub(super) computed: usize,
    /// The files of the images.
    pub(super) files: Files,
}

/// The features of images by their ids.
type Known = HashMap<ImageId, Vec<f32>>;

/// Where features are kept, and what computes those that are missing.
pub(super) struct FeatureStore<'a> {
    pub(super) objects: &'a Arc<dyn ObjectStore>,
    pub(super) library: &'a dyn Library,
    pub(super) dataset: DatasetId,
    pub(super) manifest: &'a Manifest,
    pub(super) set: FeatureSet,
    pub(super) network: &'a Network,
    pub(super) evaluator: &'a Evaluator<'a>,
    pub(super) lease_progress: &'a LeaseProgress,
    /// The memory that features may take, in bytes.
    pub(super) memory: u64,
    pub(super) runtime: &'a Handle,
}

impl FeatureStore<'_> {
    /// The features of the training split. If it has more images than fit into the memory, it is
    /// the first of them, and their order is random. Returns `None` if an interrupt is requested.
    pub(super) fn training(&self) -> Result<Option<Features>> {
        let count = self.network.feature_count();
        let mut features = Features {
            rows: Rows::new(count, self.manifest.classes.len()),
            images: vec![],
            groups: vec![],
            computed: 0,
            files: Files::default(),
        };
        let most = self.most();
        let mut earlier: Option<Known> = None;
        for shard in examples::shards(self.manifest, Split::Train) {
            let reading =
                examples::read_shard(self.objects, self.manifest, shard, self.evaluator.input);
            let set = self.runtime.block_on(reading)?;
            let key = self.key(&self.dataset, shard)?;
            let mut known = self.runtime.block_on(self.read(&key))?.unwrap_or_default();
            if (0..set.len()).any(|index| !known.contains_key(&set.example(index).image)) {
                if earlier.is_none() {
                    earlier = Some(self.runtime.block_on(self.earlier())?);
                }
                for index in 0..set.len() {
                    let image = set.example(index).image;
                    let found = earlier.as_mut().and_then(|earlier| earlier.remove(&image));
                    known.extend(found.map(|found| (image, found)));
                }
                let Some(computed) = self.compute(&set, &mut known)? else {
                    return Ok(None);
                };
                features.computed += computed;
                self.runtime.block_on(self.write(&key, &set, &known))?;
                self.lease_progress.made();
            }
            for index in 0..set.len().min(most - features.images.len()) {
                let example = set.example(index);
                let found = known.get(&example.image);
                let found = found.context("the features of each image are computed")?;
                features.rows.push(found, example.class);
                features.images.push(example.image);
                features.groups.push(example.group);
                features.files.push(example);
            }
            if features.images.len() == most {
                tracing::warn!(
                    images = most,
                    "the probe learns from so many random images, because more do not fit into \
                     --image-memory"
                );
                break;
            }
        }
        Ok(Some(features))
    }

    /// The number of images whose features fit into half of the memory. The other half is for
    /// those of an earlier version.
    fn most(&self) -> usize {
        let each = 4 * self.network.feature_count() as u64;
        usize::try_from(self.memory / 2 / each)
            .unwrap_or(usize::MAX)
            .max(1000)
    }

    fn key(&self, dataset: &DatasetId, shard: &Shard) -> Result<ObjectKey> {
        Ok(ObjectKey::dataset_features(
            dataset,
            &self.set.0,
            &shard.file,
        )?)
    }

    /// Computes what is missing. Returns how many images that were, or `None` if an interrupt is
    /// requested.
    fn compute(&self, set: &ExampleSet, known: &mut Known) -> Result<Option<usize>> {
        let is_missing = |&index: &usize| !known.contains_key(&set.example(index).image);
        let missing: Vec<usize> = (0..set.len()).filter(is_missing).collect();
        parts::halving(BATCH, |batch| {
            let computed = self.compute_in(batch, set, &missing, known)?;
            Ok(computed.then_some(missing.len()))
        })
    }

    /// Computes the features of the images at `indices`, `batch` images at a time. Returns `false` if
    /// an interrupt is requested.
    fn compute_in(
        &self,
        batch: usize,
        set: &ExampleSet,
        indices: &[usize],
        known: &mut Known,
    ) -> Result<bool> {
        let batches: Vec<Vec<usize>> = indices.chunks(batch).map(<[usize]>::to_vec).collect();
        let Evaluator {
            threads,
            input: InputShape { pixels: side, .. },
            device,
            interrupt,
            ..
        } = *self.evaluator;
        let count = self.network.feature_count();
        thread::scope(|scope| {
            let plain = Preparation::Plain;
            let prepared = batches::prepare(scope, threads, set, batches.clone(), side, plain);
            let prepared = batches.iter().zip(prepared);
            let prepared = prepared.take_while(|_| !interrupt.is_requested());
            let outputs = prepared.map(|(indices, batch)| {
                let images = input::tensor(batch?.planes, side, device);
                anyhow::Ok((indices, self.network.features(images)))
            });
            let mut computed = 0;
            for output in device::one_behind(outputs) {
                let (indices, features) = output?;
                computed += indices.len();
                let values = device::read(features)?;
                for (&index, features) in indices.iter().zip(values.chunks_exact(count)) {
                    known.insert(set.example(index).image, features.to_vec());
                }
            }
            Ok(computed == indices.len())
        })
    }

    /// The features of the newest version before this one that has some.
    async fn earlier(&self) -> Result<Known> {
        let most = self.most();
        let mut known = Known::new();
        let mut dataset = self.library.dataset(&self.dataset).await?;
        for _ in 0..MOST_VERSIONS {
            let Some(parent) = dataset.and_then(|dataset| dataset.parent) else {
                break;
            };
            let folder = ObjectKey::features_of(&parent, &self.set.0);
            let mut after = None;
            loop {
                let keys = self.objects.list(&folder, after.as_ref(), 100).await?;
                for key in &keys {
                    known.extend(self.read(key).await?.unwrap_or_default());
                    if known.len() >= most {
                        return Ok(known);
                    }
                }
                match keys.into_iter().last() {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
            if !known.is_empty() {
                break;
            }
            dataset = self.library.dataset(&parent).await?;
        }
        Ok(known)
    }

    /// Reads features. `None` if there are none yet, or if the object is damaged: then they are
    /// computed again.
    async fn read(&self, key: &ObjectKey) -> Result<Option<Known>> {
        let bytes = match self.objects.get(key).await {
            Err(missing) if missing.is_not_found() => return Ok(None),
            bytes => bytes?,
        };
        let known = unpack(&bytes, self.network.feature_count());
        if let Err(error) = &known {
            let object = self.objects.locate(key);
            tracing::warn!(
                object,
                "the features can't be used, and are computed anew: {error:#}"
            );
        }
        Ok(known.ok())
    }

    async fn write(&self, key: &ObjectKey, set: &ExampleSet, known: &Known) -> Result<()> {
        let images: Vec<ImageId> = (0..set.len())
            .map(|index| set.example(index).image)
            .collect();
        let packed = pack(&images, known, self.network.feature_count())?;
        Ok(self.objects.put(key, packed.into()).await?)
    }
}

/// The tensors of a file: the ids of the images as bytes, and their features.
const IMAGES: &str = "images";
const FEATURES: &str = "features";

fn pack(images: &[ImageId], known: &Known, count: usize) -> Result<Vec<u8>> {
    let ids: Vec<u8> = images.iter().flat_map(|image| *image.as_bytes()).collect();
    let mut values = Vec::with_capacity(4 * count * images.len());
    for image in images {
        let features = known
            .get(image)
            .context("the features of each image are known")?;
        values.extend(features.iter().flat_map(|x| x.to_le_bytes()));
    }
    let tensors = [
        (
            FEATURES,
            TensorView::new(Dtype::F32, vec![images.len(), count], &values)?,
        ),
        (
            IMAGES,
            TensorView::new(Dtype::U8, vec![images.len(), 32], &ids)?,
        ),
    ];
    Ok(safetensors::serialize(tensors, None)?)
}

fn unpack(bytes: &[u8], count: usize) -> Result<Known> {
    let file = SafeTensors::deserialize(bytes)?;
    let (ids, features) = (file.tensor(IMAGES)?, file.tensor(FEATURES)?);
    let [images, 32] = *ids.shape() else {
        bail!("the ids of its images have the shape {:?}", ids.shape());
    };
    if (ids.dtype(), features.dtype()) != (Dtype::U8, Dtype::F32)
        || features.shape() != [images, count]
    {
        bail!(
            "{images} images have features of the shape {:?}",
            features.shape()
        );
    }
    let (ids, _) = ids.data().as_chunks::<32>();
    let values = features.data().chunks_exact(4 * count);
    let known = ids.iter().zip(values).map(|(id, values)| {
        let (values, _) = values.as_chunks();
        let values = values.iter().copied().map(f32::from_le_bytes);
        (ImageId::from_digest(*id), values.collect())
    });
    Ok(known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_as_they_were_written_and_others_are_refused() {
        let images = [ImageId::of(b"one"), ImageId::of(b"two")];
        let known: Known = [(images[0], vec![1.0, -2.5]), (images[1], vec![0.0, 7.0])].into();
        let packed = pack(&images, &known, 2).unwrap();
        assert_eq!(unpack(&packed, 2).unwrap(), known);
        assert!(unpack(&packed, 3).is_err());
        assert!(unpack(&packed[..packed.len() - 1], 2).is_err());
        assert!(pack(&[ImageId::of(b"three")], &known, 2).is_err());
    }
}
