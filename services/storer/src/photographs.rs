//! Images of the same photograph, found by the details that they have in common.
//!
//! Crops of a photograph, and the photograph with a border or a caption, do not look the same as a
//! whole. But they have details in common, and these are at the same places relative to each other.
//!
//! * [`fingerprints`]: the fingerprints of all images, in little memory.
//! * `placement`: where one image lies in another, from the details that agree.
//! * `overlap`: whether two images look the same where one lies on the other.

mod fingerprints;
mod overlap;
mod placement;
#[cfg(test)]
mod tests;

use crate::{disjoint_sets::DisjointSets, near_duplicates::masks};

pub(crate) use fingerprints::Fingerprints;

/// The bits of a detail's hash. The highest is not part of it.
const BITS: u64 = u64::MAX >> 1;

/// How many bits two details differ in that are sure to be compared. See [`join`].
const SURE_DISTANCE: u32 = 4;

/// How many details are looked at together. This bounds the memory of the index.
const PART: usize = 1 << 20;

/// With how many others that are equal in two bands a detail is compared at most. Few details have
/// more: they are parts of letters or of drawings, of which many pictures have the same.
const MOST_COMPARED: usize = 64;

/// The size of an image in pixels: width and height.
pub(crate) type Size = [u16; 2];

/// Joins the sets of images that are of the same photograph.
///
/// Two images are of the same photograph if two details of one agree with two details of the
/// other, and if both images look the same where one lies on the other then. Hashes of details
/// that agree differ in at most `distance` bits.
///
/// Images are compared if a detail of one and a detail of the other can be the same. To find
/// those the hashes are divided into six bands, and compared if they are equal in two. So a pair of
/// details is found for certain if they differ in at most 4 bits (the pigeonhole principle), and
/// most often if they differ in a few more. One such pair of all the details is enough.
pub(crate) fn join(
    fingerprints: &Fingerprints,
    sizes: impl Fn(usize) -> Size,
    distance: u32,
    sets: &mut DisjointSets,
) {
    let hashes = fingerprints.hashes();
    let parts = hashes.len().div_ceil(PART) as u64;
    let mut entries: Vec<u64> = vec![];
    for mask in masks(SURE_DISTANCE) {
        let mixed = |hash: u64| (hash & mask & BITS).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        for part in 0..parts {
            // The upper half of an entry is equal if both bands are. The lower is the detail.
            entries.clear();
            entries.extend(
                (0u64..)
                    .zip(hashes)
                    .map(|(detail, &hash)| (mixed(hash), detail))
                    .filter(|(mixed, _)| (mixed * parts) >> 32 == part)
                    .map(|(mixed, detail)| mixed << 32 | detail),
            );
            entries.sort_unstable();
            for (position, &entry) in entries.iter().enumerate() {
                let behind = entries[position + 1..].iter();
                let equal = behind.take_while(|other| *other >> 32 == entry >> 32);
                for &other in equal.take(MOST_COMPARED) {
                    let pair = [entry, other].map(|entry| entry as u32 as usize);
                    let [one, another] = pair.map(|detail| hashes[detail]);
                    if differing(one, another) > distance {
                        continue;
                    }
                    let [one, another] = pair.map(|detail| fingerprints.image_of(detail));
                    if sets.root(one) != sets.root(another)
                        && is_same_photograph(fingerprints, &sizes, distance, one, another)
                    {
                        sets.join(one, another);
                    }
                }
            }
        }
    }
}

/// In how many bits two hashes of details differ.
fn differing(one: u64, other: u64) -> u32 {
    ((one ^ other) & BITS).count_ones()
}

fn is_same_photograph(
    fingerprints: &Fingerprints,
    sizes: impl Fn(usize) -> Size,
    distance: u32,
    one: u32,
    other: u32,
) -> bool {
    let [one, other] = [one, other].map(|image| image as usize);
    let details = [one, other].map(|image| fingerprints.details(image));
    let placement = placement::placement(&details[0], &details[1], distance);
    placement.is_some_and(|placement| {
        let thumbnails = [one, other].map(|image| fingerprints.thumbnail(image));
        overlap::looks_the_same(thumbnails, [sizes(one), sizes(other)], &placement)
    })
}
