//! Random numbers that are the same on every machine, thread and attempt. Each use has a
//! generator of its own, whose seed depends on the use and on nothing else.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// What random numbers are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The order of an epoch's images.
    Order,
    /// The augmentation of one image in one epoch.
    Augmentation,
    /// The values that a step drops.
    Dropout,
    /// The images that are mixed in one batch of an epoch.
    Mixing,
    /// The choice of the images that the statistics of the batch norms are computed over.
    Statistics,
    /// The settings of one trial of a study.
    Tuning,
}

/// Returns the generator for a purpose in an epoch. `index` is that of the image or the
/// step.
pub(crate) fn stream(seed: u64, purpose: Purpose, epoch: usize, index: usize) -> StdRng {
    let parts = [seed, purpose as u64, epoch as u64, index as u64];
    let mut key = [0; 32];
    for (bytes, part) in key.chunks_exact_mut(8).zip(parts) {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    StdRng::from_seed(key)
}

/// Returns a seed for the same, where a generator cannot be passed.
pub(crate) fn derived_seed(seed: u64, purpose: Purpose, epoch: usize, index: usize) -> u64 {
    stream(seed, purpose, epoch, index).next_u64()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_use_always_has_the_same_numbers_and_another_use_others() {
        let uses = [
            (1, Purpose::Order, 0, 0),
            (2, Purpose::Order, 0, 0),
            (1, Purpose::Dropout, 0, 0),
            (1, Purpose::Order, 1, 0),
            (1, Purpose::Order, 0, 1),
        ];
        let draw = |(seed, purpose, epoch, index)| derived_seed(seed, purpose, epoch, index);
        let drawn: BTreeSet<u64> = uses.into_iter().map(draw).collect();
        assert_eq!(drawn.len(), uses.len());
        assert_eq!(drawn, uses.into_iter().map(draw).collect());
    }
}
