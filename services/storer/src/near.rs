//! Near-duplicate groups by perceptual hash.

use std::collections::HashMap;

/// A picture's perceptual hash, and that of its mirror image.
#[derive(Debug, Clone, Copy)]
pub struct Hashes {
    pub straight: u64,
    pub mirrored: u64,
}

/// Puts pictures that look the same, mirrored or not, into groups.
///
/// Two pictures belong together when a hash of one differs from the straight
/// hash of the other in at most `distance` bits; groups are what hangs together
/// by such pairs. Returns for each picture the lowest index in its group.
///
/// Hashes that differ in at most `d` of 64 bits agree wholly in at least one of
/// `d + 1` bands (the pigeonhole principle), so only pictures that share a band
/// are compared.
pub fn groups(hashes: &[Hashes], distance: u32) -> Vec<usize> {
    let mut sets = DisjointSets::new(hashes.len());
    for band in bands(distance) {
        let mut by_band: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, hash) in hashes.iter().enumerate() {
            by_band.entry(hash.straight & band).or_default().push(index);
        }
        for (index, hash) in hashes.iter().enumerate() {
            for view in [hash.straight, hash.mirrored] {
                for &other in by_band.get(&(view & band)).into_iter().flatten() {
                    let apart = (view ^ hashes[other].straight).count_ones();
                    if other != index && apart <= distance {
                        sets.join(index, other);
                    }
                }
            }
        }
    }
    (0..hashes.len()).map(|index| sets.root(index)).collect()
}

/// `distance + 1` masks that share the 64 bits out among them.
fn bands(distance: u32) -> impl Iterator<Item = u64> {
    let count = distance.min(63) + 1;
    (0..count).map(move |band| {
        let (from, to) = (64 * band / count, 64 * (band + 1) / count);
        (from..to).fold(0, |mask, bit| mask | 1 << bit)
    })
}

/// Union-find whose root is a set's lowest member.
struct DisjointSets(Vec<usize>);

impl DisjointSets {
    fn new(size: usize) -> Self {
        Self((0..size).collect())
    }

    fn root(&mut self, mut index: usize) -> usize {
        while self.0[index] != index {
            self.0[index] = self.0[self.0[index]];
            index = self.0[index];
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(straight: u64) -> Hashes {
        // A mirror image far from everything here.
        Hashes {
            straight,
            mirrored: !straight.rotate_left(17),
        }
    }

    #[test]
    fn bands_cover_every_bit_once() {
        for distance in [0, 1, 4, 6, 63, 64] {
            let all: Vec<u64> = bands(distance).collect();
            assert_eq!(all.iter().map(|b| b.count_ones()).sum::<u32>(), 64);
            assert_eq!(all.iter().fold(0, |a, b| a | b), u64::MAX);
        }
    }

    #[test]
    fn pictures_within_the_distance_share_a_group_and_chains_hang_together() {
        let hashes = [
            picture(0),
            picture(0b1111),
            picture(0b1111_1111),
            picture(u64::MAX << 32),
        ];
        assert_eq!(groups(&hashes, 4), [0, 0, 0, 3]);
        assert_eq!(groups(&hashes, 3), [0, 1, 2, 3]);
    }

    #[test]
    fn a_mirror_image_belongs_to_its_original() {
        let original = Hashes {
            straight: 0xABCD,
            mirrored: 0xF0F0_0000_1234,
        };
        let mirror = Hashes {
            straight: 0xF0F0_0000_1235,
            mirrored: 0xABCC,
        };
        assert_eq!(groups(&[original, mirror], 4), [0, 0]);
    }

    proptest! {
        #[test]
        fn the_bands_find_what_comparing_all_pairs_finds(
            seeds in prop::collection::vec((0u64..8, 0u64..64, 0u64..64), 0..40),
            distance in 0u32..8,
        ) {
            let hashes: Vec<Hashes> = seeds
                .iter()
                .map(|&(base, a, b)| picture((base.wrapping_mul(0x9E37_79B9_7F4A_7C15)) ^ (1 << a) ^ (1 << b)))
                .collect();
            let mut sets = DisjointSets::new(hashes.len());
            for (i, one) in hashes.iter().enumerate() {
                for (j, other) in hashes.iter().enumerate() {
                    let near = |a: u64, b: u64| (a ^ b).count_ones() <= distance;
                    if near(one.straight, other.straight) || near(one.mirrored, other.straight) {
                        sets.join(i, j);
                    }
                }
            }
            let expected: Vec<usize> = (0..hashes.len()).map(|i| sets.root(i)).collect();
            prop_assert_eq!(groups(&hashes, distance), expected);
        }
    }
}
