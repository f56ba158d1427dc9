//! Chance that is the same on every machine, thread and attempt: each use has a
//! generator of its own, made from what it is for and nothing else.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// What chance decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The order of an epoch's images.
    Order,
    /// How one image looks in one epoch.
    Augmentation,
    /// What a step drops.
    Dropout,
    /// Which images the batch norms' statistics are computed over.
    Statistics,
}

/// The generator for `purpose` in an epoch; `index` is the image's or the step's.
pub fn stream(seed: u64, purpose: Purpose, epoch: usize, index: usize) -> StdRng {
    let parts = [seed, purpose as u64, epoch as u64, index as u64];
    let mut key = [0; 32];
    for (bytes, part) in key.chunks_exact_mut(8).zip(parts) {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    StdRng::from_seed(key)
}

/// For what takes a seed instead of a generator.
pub fn derived_seed(seed: u64, purpose: Purpose, epoch: usize, index: usize) -> u64 {
    stream(seed, purpose, epoch, index).next_u64()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_use_has_chance_of_its_own_and_always_the_same() {
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
