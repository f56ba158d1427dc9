//! Groups of near-duplicates, found by perceptual hash.

use crate::disjoint_sets::DisjointSets;

/// An image's perceptual hash, and that of its mirror image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PerceptualHashes {
    pub(crate) straight: u64,
    pub(crate) mirrored: u64,
}

/// Puts images that look the same, mirrored or not, into groups.
///
/// Two images are a pair if one of the hashes of one differs from the straight hash of
/// the other in at most `distance` bits. Groups are the connected components of these
/// pairs.
///
/// Not all images are compared with each other. The 64 bits are divided into
/// `distance + 2` bands. Two hashes that differ in at most `distance` bits are equal in at
/// least two bands (the pigeonhole principle), so only images that are equal in two bands
/// are compared. At the usual distance of 4 two bands have 21 bits, which hardly two of a
/// million images that look different have in common. Of images whose hashes are equal
/// only one is compared with the others.
pub(crate) fn groups(hashes: &[PerceptualHashes], distance: u32) -> DisjointSets {
    let mut sets = DisjointSets::new(hashes.len());
    let mut sorted = distinct(hashes, &mut sets);
    for mask in masks(distance) {
        let masked = |index: &u32| hashes[*index as usize].straight & mask;
        sorted.sort_unstable_by_key(|index| (masked(index), *index));
        for (position, &index) in sorted.iter().enumerate() {
            let PerceptualHashes { straight, mirrored } = hashes[index as usize];
            let behind = &sorted[position + 1..];
            let first = sorted.partition_point(|other| masked(other) < mirrored & mask);
            for (hash, others) in [(straight, behind), (mirrored, &sorted[first..])] {
                let shared = others.iter().take_while(|o| masked(o) == hash & mask);
                for &other in shared {
                    let differing = (hash ^ hashes[other as usize].straight).count_ones();
                    if differing <= distance {
                        sets.join(index, other);
                    }
                }
            }
        }
    }
    sets
}

/// The index of one image for each pair of hashes. Other images with the same hashes are
/// joined to it.
fn distinct(hashes: &[PerceptualHashes], sets: &mut DisjointSets) -> Vec<u32> {
    let both = |index: u32| {
        let PerceptualHashes { straight, mirrored } = hashes[index as usize];
        (straight, mirrored)
    };
    let mut indices: Vec<u32> = (0..).take(hashes.len()).collect();
    indices.sort_unstable_by_key(|&index| (both(index), index));
    indices.dedup_by(|index, first| {
        let same = both(*index) == both(*first);
        if same {
            sets.join(*index, *first);
        }
        same
    });
    indices
}

/// For each pair of the `distance + 2` bands, a mask of their bits. If more than 62 bits may
/// differ, there are no two bands, and an empty mask makes all images be compared.
pub(crate) fn masks(distance: u32) -> Vec<u64> {
    if distance > 62 {
        return vec![0];
    }
    let bands: Vec<u64> = bands(distance + 2).collect();
    let pairs = (0..bands.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
    pairs
        .map(|(first, second)| bands[first] | bands[second])
        .collect()
}

/// Masks of `count` bands, which divide the 64 bits among them.
fn bands(count: u32) -> impl Iterator<Item = u64> {
    (0..count).map(move |band| {
        let (from, to) = (64 * band / count, 64 * (band + 1) / count);
        (from..to).fold(0, |mask, bit| mask | 1 << bit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn groups(hashes: &[PerceptualHashes], distance: u32) -> Vec<u32> {
        super::groups(hashes, distance).roots()
    }

    fn image(straight: u64) -> PerceptualHashes {
        // The mirror image's hash is far from every other hash here.
        PerceptualHashes {
            straight,
            mirrored: !straight.rotate_left(17),
        }
    }

    #[test]
    fn bands_cover_every_bit_once() {
        for count in [2, 3, 6, 8, 64] {
            let all: Vec<u64> = bands(count).collect();
            assert_eq!(all.iter().map(|b| b.count_ones()).sum::<u32>(), 64);
            assert_eq!(all.iter().fold(0, |a, b| a | b), u64::MAX);
        }
    }

    #[test]
    fn images_within_the_distance_share_a_group_and_chains_of_them_do_too() {
        let hashes = [
            image(0),
            image(0b1111),
            image(0b1111_1111),
            image(u64::MAX << 32),
        ];
        assert_eq!(groups(&hashes, 4), [0, 0, 0, 3]);
        assert_eq!(groups(&hashes, 3), [0, 1, 2, 3]);
    }

    #[test]
    fn a_mirror_image_belongs_to_its_original() {
        let original = PerceptualHashes {
            straight: 0xABCD,
            mirrored: 0xF0F0_0000_1234,
        };
        let mirror = PerceptualHashes {
            straight: 0xF0F0_0000_1235,
            mirrored: 0xABCC,
        };
        assert_eq!(groups(&[original, mirror], 4), [0, 0]);
    }

    #[test]
    fn the_widest_and_the_narrowest_distance_mean_what_they_say() {
        let hashes = [0, 1, u64::MAX].map(|straight| PerceptualHashes {
            straight,
            mirrored: straight,
        });
        assert_eq!(groups(&hashes, 0), [0, 1, 2]);
        assert_eq!(groups(&hashes[1..], 62), [0, 1]);
        assert_eq!(groups(&hashes[1..], 63), [0, 0]);
        assert_eq!(groups(&hashes, 64), [0, 0, 0]);
        assert_eq!(groups(&[], 4), [] as [u32; 0]);
    }

    proptest! {
        #[test]
        fn the_bands_find_the_same_pairs_as_comparing_all_images(
            seeds in prop::collection::vec((0u64..8, 0u64..64, 0u64..64), 0..40),
            distance in 0u32..8,
        ) {
            let hashes: Vec<PerceptualHashes> = seeds
                .iter()
                .map(|&(base, a, b)| image((base.wrapping_mul(0x9E37_79B9_7F4A_7C15)) ^ (1 << a) ^ (1 << b)))
                .collect();
            let mut sets = DisjointSets::new(hashes.len());
            let all = || (0u32..).zip(&hashes);
            for (i, one) in all() {
                for (j, other) in all() {
                    let near = |a: u64, b: u64| (a ^ b).count_ones() <= distance;
                    if near(one.straight, other.straight) || near(one.mirrored, other.straight) {
                        sets.join(i, j);
                    }
                }
            }
            prop_assert_eq!(groups(&hashes, distance), sets.roots());
        }
    }
}
