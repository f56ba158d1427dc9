//! Batches of images for the network, prepared while it computes.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::Scope,
};

use anyhow::Result;
use maskline_models::input;
use maskline_vision::{augment, corruption::Corruption};
use rand::seq::SliceRandom;
use rayon::{
    ThreadPool,
    iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator},
    slice::ParallelSliceMut,
};

use crate::{
    examples::ExampleSet,
    mixing::{Mixed, Mixing},
    parts::Parts,
    random::{Purpose, stream},
};

/// The number of prepared batches that wait for the network.
const AHEAD: usize = 2;

/// Images as the input of a network, with their classes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// The pixels of all images, see [`input::write`].
    pub(crate) planes: Vec<u8>,
    /// The class of each image, an index into the dataset's classes.
    pub(crate) classes: Vec<usize>,
    /// The images that they are mixed with, if they are.
    pub(crate) mixed: Option<Mixed>,
}

impl Batch {
    /// Divides the batch into parts.
    pub(crate) fn divide(self, parts: Parts) -> Vec<Self> {
        if parts == Parts::default() {
            return vec![self];
        }
        let each = self.planes.len() / self.classes.len().max(1);
        let mut first = 0;
        let sizes = parts.divide(self.classes.len());
        let part = |size: usize| {
            let images = first..first + size;
            first = images.end;
            let mixed = |mixed: &Mixed| Mixed {
                own: mixed.own,
                classes: mixed.classes[images.clone()].to_vec(),
            };
            Self {
                planes: self.planes[images.start * each..images.end * each].to_vec(),
                classes: self.classes[images.clone()].to_vec(),
                mixed: self.mixed.as_ref().map(mixed),
            }
        };
        sizes.map(part).collect()
    }
}

/// How images are prepared for the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Preparation {
    /// With random augmentation, which differs from epoch to epoch.
    Augmented {
        seed: u64,
        epoch: usize,
        mixing: Mixing,
    },
    /// As for a prediction.
    Plain,
    /// With damage.
    Corrupted(Corruption),
}

/// Returns a random order of `images` images, which differs from epoch to epoch.
pub(crate) fn order(seed: u64, epoch: usize, images: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut stream(seed, Purpose::Order, epoch, 0));
    order
}

/// Divides an epoch into batches. Images that do not fill the last batch are left out,
/// because batch norm has poor statistics over a few images. If there are fewer images than
/// one batch, they are the only batch.
pub(crate) fn training_batches(order: &[usize], batch: usize) -> Vec<Vec<usize>> {
    if order.len() < batch {
        return vec![order.to_vec()];
    }
    order.chunks_exact(batch).map(<[usize]>::to_vec).collect()
}

/// Prepares `batches`, which are indices into `set`, one after another on `threads`. What is
/// prepared does not depend on the number of threads. The preparation ends early if the
/// receiver is dropped.
pub(crate) fn prepare<'scope>(
    scope: &'scope Scope<'scope, '_>,
    threads: &'scope ThreadPool,
    set: &'scope ExampleSet,
    batches: Vec<Vec<usize>>,
    side: u32,
    preparation: Preparation,
) -> Receiver<Result<Batch>> {
    let (sender, receiver) = sync_channel(AHEAD);
    scope.spawn(move || {
        for images in batches {
            let batch = threads.install(|| assemble(set, &images, side, preparation));
            if sender.send(batch).is_err() {
                break;
            }
        }
    });
    receiver
}

fn assemble(
    set: &ExampleSet,
    images: &[usize],
    side: u32,
    preparation: Preparation,
) -> Result<Batch> {
    let each = input::len(side);
    let mut prepared = vec![0; each * images.len()];
    prepared
        .par_chunks_exact_mut(each)
        .zip(images.par_iter())
        .try_for_each(|(out, &image)| {
            let shown = set.picture(image)?;
            match preparation {
                Preparation::Augmented { seed, epoch, .. } => {
                    let mut random = stream(seed, Purpose::Augmentation, epoch, image);
                    let view = augment::training(&shown.picture, &shown.part, side, &mut random);
                    input::write(&view, side, out);
                }
                Preparation::Plain => input::write(&shown.square(side), side, out),
                Preparation::Corrupted(corruption) => {
                    input::write(&corruption.apply(&shown.square(side)), side, out);
                }
            }
            anyhow::Ok(())
        })?;
    let class = |&image: &usize| set.example(image).class;
    let classes: Vec<usize> = images.iter().map(class).collect();
    let mixed = match (preparation, images) {
        (
            Preparation::Augmented {
                seed,
                epoch,
                mixing,
            },
            &[first, ..],
        ) => {
            // An image is in one batch of an epoch only.
            let mut random = stream(seed, Purpose::Mixing, epoch, first);
            mixing.mix(&mut prepared, &classes, side as usize, &mut random)
        }
        _ => None,
    };
    Ok(Batch {
        planes: prepared,
        classes,
        mixed,
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use maskline_messages::TrainingSettings;
    use maskline_models::ModelError;
    use maskline_test_support::embedded::Embedded;
    use rayon::ThreadPoolBuilder;

    use super::*;
    use crate::fixtures::{Drawing, examples};

    #[test]
    fn an_epoch_always_has_the_same_order_and_another_epoch_another() {
        let first = order(42, 0, 100);
        assert_eq!(first, order(42, 0, 100));
        assert_ne!(first, order(42, 1, 100));
        assert_ne!(first, order(43, 0, 100));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn images_that_do_not_fill_a_batch_are_left_out_unless_there_are_no_others() {
        assert_eq!(training_batches(&[4, 1, 3, 0, 2], 2), [[4, 1], [3, 0]]);
        assert_eq!(training_batches(&[1, 0], 2), [[1, 0]]);
        assert_eq!(training_batches(&[1, 0], 3), [[1, 0]]);
    }

    #[test]
    fn the_parts_of_a_batch_have_each_image_with_its_classes_once() {
        let each = input::len(2);
        let batch = Batch {
            planes: (0..3 * each).map(|at| at as u8).collect(),
            classes: vec![0, 1, 2],
            mixed: Some(Mixed {
                own: 0.7,
                classes: vec![2, 0, 1],
            }),
        };
        let [whole] = batch.clone().divide(Parts::default()).try_into().unwrap();
        assert_eq!(whole, batch);
        let error = ModelError::DeviceMemory("out of device memory".into());
        let halves = Parts::default().doubled_for(error.into(), 3).unwrap();
        let [first, second] = batch.clone().divide(halves).try_into().unwrap();
        assert_eq!([first.planes, second.planes].concat(), batch.planes);
        assert_eq!((first.classes, second.classes), (vec![0], vec![1, 2]));
        let mixed = [first.mixed, second.mixed].map(Option::unwrap);
        assert_eq!(mixed.each_ref().map(|mixed| mixed.own), [0.7, 0.7]);
        assert_eq!(mixed.map(|mixed| mixed.classes), [vec![2], vec![0, 1]]);
    }

    #[tokio::test]
    async fn an_image_depends_on_seed_and_epoch_but_not_on_threads_memory_or_the_batch() {
        for faces in [false, true] {
            check_what_an_image_depends_on(faces).await;
        }
    }

    async fn check_what_an_image_depends_on(faces: bool) {
        let store = Embedded::open().await;
        let drawing = Drawing {
            faces,
            ..Drawing::default()
        };
        let dataset = drawing.freeze(&store.objects).await;
        let (ample, none) = (1 << 30, 0);
        let decoded = examples(&store.objects, &dataset, 32, ample).await;
        let spilled = examples(&store.objects, &dataset, 32, none).await;
        let batch =
            |examples: &crate::examples::Examples, threads, images: &[usize], preparation| {
                let threads = ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                threads
                    .install(|| assemble(&examples.training, images, 32, preparation))
                    .unwrap()
            };
        let mixing = Mixing::of(&TrainingSettings::default());
        let augmented = |seed, epoch| Preparation::Augmented {
            seed,
            epoch,
            mixing,
        };
        let one = batch(&decoded, 1, &[3, 1, 2], augmented(42, 1));
        assert_eq!(one, batch(&decoded, 3, &[3, 1, 2], augmented(42, 1)));
        assert_eq!(one, batch(&spilled, 2, &[3, 1, 2], augmented(42, 1)));
        assert_ne!(one, batch(&decoded, 1, &[3, 1, 2], augmented(42, 2)));
        assert_ne!(one, batch(&decoded, 1, &[3, 1, 2], augmented(41, 1)));
        let alone = batch(&decoded, 1, &[1], augmented(42, 1));
        assert_eq!(alone.planes[..], one.planes[3 * 32 * 32..2 * 3 * 32 * 32]);
        let plain = batch(&decoded, 1, &[3, 1, 2], Preparation::Plain);
        assert_eq!(plain, batch(&spilled, 1, &[3, 1, 2], Preparation::Plain));
        assert_ne!(plain.planes, one.planes);
    }

    #[tokio::test]
    async fn batches_come_in_order_and_preparation_ends_with_the_receiver() {
        let store = Embedded::open().await;
        let dataset = Drawing::default().freeze(&store.objects).await;
        let examples = examples(&store.objects, &dataset, 32, 1 << 30).await;
        let batches: Vec<Vec<usize>> = (0..examples.training.len()).map(|i| vec![i]).collect();
        let expected: Vec<usize> = (0..3).map(|i| examples.training.example(i).class).collect();
        let taken: Vec<usize> = thread::scope(|scope| {
            let prepared = prepare(
                scope,
                &examples.threads,
                &examples.training,
                batches,
                32,
                Preparation::Plain,
            );
            // The scope would wait for ever for a preparation that did not end.
            prepared
                .iter()
                .take(3)
                .map(|batch| batch.unwrap().classes[0])
                .collect()
        });
        assert_eq!(taken, expected);
    }
}
