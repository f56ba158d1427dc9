//! Near-duplicate groups by perceptual hash.

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
/// Hashes that differ in at most `d` of 64 bits agree wholly in at least two of
/// `d + 2` bands (the pigeonhole principle), so only pictures that share a pair of
/// bands are compared. With the usual distance of 4 a pair has 21 bits: of a million
/// pictures that look different, hardly two share one. Pictures of the very same
/// hashes are compared with others only once.
pub fn groups(hashes: &[Hashes], distance: u32) -> Vec<u32> {
    let mut sets = DisjointSets::new(hashes.len());
    let mut sorted = distinct(hashes, &mut sets);
    for mask in masks(distance) {
        let masked = |index: &u32| hashes[*index as usize].straight & mask;
        sorted.sort_unstable_by_key(|index| (masked(index), *index));
        for (place, &index) in sorted.iter().enumerate() {
            let Hashes { straight, mirrored } = hashes[index as usize];
            let behind = &sorted[place + 1..];
            let first = sorted.partition_point(|other| masked(other) < mirrored & mask);
            for (view, others) in [(straight, behind), (mirrored, &sorted[first..])] {
                let shared = others.iter().take_while(|o| masked(o) == view & mask);
                for &other in shared {
                    let apart = (view ^ hashes[other as usize].straight).count_ones();
                    if apart <= distance {
                        sets.join(index, other);
                    }
                }
            }
        }
    }
    sets.into_roots()
}

/// One picture for each pair of hashes; the others that have it are joined to it.
fn distinct(hashes: &[Hashes], sets: &mut DisjointSets) -> Vec<u32> {
    let both = |index: u32| {
        let Hashes { straight, mirrored } = hashes[index as usize];
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

/// The pairs of `distance + 2` bands that share the 64 bits out among them. So few
/// bits are left where nearly all may differ that all pictures are compared.
fn masks(distance: u32) -> Vec<u64> {
    if distance > 62 {
        return vec![0];
    }
    let bands: Vec<u64> = bands(distance + 2).collect();
    let pairs = (0..bands.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
    pairs
        .map(|(first, second)| bands[first] | bands[second])
        .collect()
}

/// `count` masks that share the 64 bits out among them.
fn bands(count: u32) -> impl Iterator<Item = u64> {
    (0..count).map(move |band| {
        let (from, to) = (64 * band / count, 64 * (band + 1) / count);
        (from..to).fold(0, |mask, bit| mask | 1 << bit)
    })
}

/// Union-find whose root is a set's lowest member.
struct DisjointSets(Vec<u32>);

impl DisjointSets {
    fn new(size: usize) -> Self {
        Self((0..).take(size).collect())
    }

    fn root(&mut self, mut index: u32) -> u32 {
        while self.0[index as usize] != index {
            let above = self.0[index as usize];
            self.0[index as usize] = self.0[above as usize];
            index = self.0[index as usize];
        }
        index
    }

    /// Of each member, its set's root.
    fn into_roots(mut self) -> Vec<u32> {
        for index in 0..self.0.len() as u32 {
            self.0[index as usize] = self.root(index);
        }
        self.0
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other) as usize] = one.min(other);
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
        for count in [2, 3, 6, 8, 64] {
            let all: Vec<u64> = bands(count).collect();
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

    #[test]
    fn the_widest_and_the_narrowest_distance_mean_what_they_say() {
        let hashes = [0, 1, u64::MAX].map(|straight| Hashes {
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
        fn the_bands_find_what_comparing_all_pairs_finds(
            seeds in prop::collection::vec((0u64..8, 0u64..64, 0u64..64), 0..40),
            distance in 0u32..8,
        ) {
            let hashes: Vec<Hashes> = seeds
                .iter()
                .map(|&(base, a, b)| picture((base.wrapping_mul(0x9E37_79B9_7F4A_7C15)) ^ (1 << a) ^ (1 << b)))
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
            prop_assert_eq!(groups(&hashes, distance), sets.into_roots());
        }
    }
}
