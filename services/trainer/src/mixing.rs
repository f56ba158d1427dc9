//! Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019): images of a batch are mixed with
//! others of it, and their classes in the same proportion. It keeps a network that learns from few
//! images from learning them by heart.

use maskline_messages::TrainingSettings;
use rand::{Rng, RngExt, seq::SliceRandom};
use rand_distr::{Beta, Distribution};

/// Both parameters of the beta distribution that the proportions of mixup are drawn from: mostly
/// one of the images is hardly seen.
const MIXUP_BETA: f32 = 0.4;

/// The red, green and blue plane of an image.
const CHANNELS: usize = 3;

/// How often the images of a batch are mixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mixing {
    mixup: f32,
    cutmix: f32,
}

/// The images that a batch was mixed with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mixed {
    /// How much of each image is its own, 0 to 1.
    pub(crate) own: f32,
    /// The class of the other image in each.
    pub(crate) classes: Vec<usize>,
}

impl Mixed {
    /// The classes of the image at `index`, whose own class is `class`, with their shares of it.
    pub(crate) fn shares(mixed: Option<&Self>, index: usize, class: usize) -> Vec<(usize, f64)> {
        match mixed {
            None => vec![(class, 1.0)],
            Some(mixed) => {
                let own = f64::from(mixed.own);
                vec![(class, own), (mixed.classes[index], 1.0 - own)]
            }
        }
    }
}

impl Mixing {
    pub(crate) fn of(settings: &TrainingSettings) -> Self {
        Self {
            mixup: settings.mixup,
            cutmix: settings.cutmix,
        }
    }

    /// Mixes the images of a batch, `[images, 3, side, side]`, in some of the cases.
    pub(crate) fn mix(
        self,
        planes: &mut Vec<u8>,
        classes: &[usize],
        side: usize,
        random: &mut impl Rng,
    ) -> Option<Mixed> {
        let draw: f32 = random.random();
        if draw >= self.mixup + self.cutmix {
            return None;
        }
        let mut others: Vec<usize> = (0..classes.len()).collect();
        others.shuffle(random);
        let own = match draw < self.mixup {
            true => mixup(planes, &others, random),
            false => cutmix(planes, &others, side, random),
        };
        Some(Mixed {
            own,
            classes: others.iter().map(|&other| classes[other]).collect(),
        })
    }
}

/// Adds the other images to all.
fn mixup(planes: &mut Vec<u8>, others: &[usize], random: &mut impl Rng) -> f32 {
    let beta = Beta::new(MIXUP_BETA, MIXUP_BETA).expect("both are above 0");
    let own = beta.sample(random);
    let each = planes.len() / others.len().max(1);
    let mixed = planes.chunks_exact(each).zip(others);
    let mixed = mixed.flat_map(|(image, &other)| {
        let other = &planes[other * each..(other + 1) * each];
        image
            .iter()
            .zip(other)
            .map(move |(&a, &b)| (own * f32::from(a) + (1.0 - own) * f32::from(b)).round() as u8)
    });
    *planes = mixed.collect();
    own
}

/// Puts the same square part of the other images into all.
fn cutmix(planes: &mut [u8], others: &[usize], side: usize, random: &mut impl Rng) -> f32 {
    let area: f32 = random.random();
    let cut = ((side as f32) * area.sqrt()) as usize;
    let [left, top] = [(); 2].map(|()| random.random_range(0..=side - cut));
    let originals = planes.to_vec();
    let each = CHANNELS * side * side;
    for (image, &other) in planes.chunks_exact_mut(each).zip(others) {
        let other = &originals[other * each..(other + 1) * each];
        for channel in 0..CHANNELS {
            for row in top..top + cut {
                let start = (channel * side + row) * side + left;
                image[start..start + cut].copy_from_slice(&other[start..start + cut]);
            }
        }
    }
    1.0 - (cut * cut) as f32 / (side * side) as f32
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const SIDE: usize = 4;
    const EACH: usize = CHANNELS * SIDE * SIDE;

    /// The value of every pixel of an image of class 1.
    const VALUE: usize = 100;

    /// Three images, all of whose values are that many times the image's class.
    fn batch() -> (Vec<u8>, Vec<usize>) {
        let classes = vec![0, 1, 2];
        let planes = classes
            .iter()
            .flat_map(|&class| vec![(VALUE * class) as u8; EACH]);
        (planes.collect(), classes)
    }

    fn mixed(mixup: f32, cutmix: f32, seed: u64) -> (Vec<u8>, Option<Mixed>) {
        let (mut planes, classes) = batch();
        let mut random = StdRng::seed_from_u64(seed);
        let mixing = Mixing { mixup, cutmix };
        let mixed = mixing.mix(&mut planes, &classes, SIDE, &mut random);
        (planes, mixed)
    }

    #[test]
    fn images_and_classes_are_mixed_in_the_same_proportion() {
        for seed in 0..50 {
            for (mixup, cutmix) in [(1.0, 0.0), (0.0, 1.0)] {
                let (planes, mixed) = mixed(mixup, cutmix, seed);
                let mixed = mixed.unwrap();
                assert!((0.0..=1.0).contains(&mixed.own));
                for (class, (image, &other)) in
                    planes.chunks_exact(EACH).zip(&mixed.classes).enumerate()
                {
                    let sum: usize = image.iter().copied().map(usize::from).sum();
                    let mean = sum as f32 / (EACH * VALUE) as f32;
                    let expected = mixed.own * class as f32 + (1.0 - mixed.own) * other as f32;
                    assert!((mean - expected).abs() < 0.006, "{mean} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn so_many_batches_are_mixed_as_was_asked_for_and_the_others_stay() {
        let (planes, none) = mixed(0.0, 0.0, 1);
        assert_eq!((planes, none), (batch().0, None));
        let count = (0..2000).filter(|&seed| mixed(0.1, 0.2, seed).1.is_some());
        let count = count.count();
        assert!((500..700).contains(&count), "{count} of 2000");
    }
}
