//! The images of a collection, as far as a plan needs to know them.

use std::{cmp::Ordering, collections::BTreeMap};

use maskline_dataset::Split;
use maskline_messages::{ImageId, Label, SourceRole};
use maskline_storage::{membership::Membership, records::ImageFacts};

use crate::{near_duplicates::PerceptualHashes, photographs::Fingerprints};

/// The label of an image about which its sources contradict each other, of a group whose
/// images have several labels, and of an image that is in no split.
pub(super) const CONFLICTING: u16 = u16::MAX;

/// The images of a collection. Each takes 224 bytes at most, because there may be millions: 56 and
/// its fingerprint.
#[derive(Debug, Default)]
pub(crate) struct Images {
    pub(super) images: Vec<Image>,
    /// The hashes of each image.
    pub(super) hashes: Vec<PerceptualHashes>,
    /// The fingerprint of each image.
    pub(super) fingerprints: Fingerprints,
    /// The labels that occur, numbered in the order in which they came.
    pub(super) labels: BTreeMap<Label, u16>,
}

/// One image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: ImageId,
    /// The number of its label, or [`CONFLICTING`].
    pub(super) label: u16,
    /// The width of the normalized image, a JPEG, whose sides have 16 bits.
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) role: SourceRole,
    /// The split that the earlier versions ask for.
    pub(super) before: Option<Split>,
}

impl Images {
    pub(crate) fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Adds an image for which the earlier versions ask for the split `before`.
    pub(crate) fn add(&mut self, facts: &ImageFacts, member: Membership, before: Option<Split>) {
        let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
        let label = member.label.map_or(CONFLICTING, |label| self.number(label));
        self.images.push(Image {
            id: facts.image,
            label,
            width: side(facts.width),
            height: side(facts.height),
            role: member.role,
            before,
        });
        self.hashes.push(PerceptualHashes {
            straight: facts.phash,
            mirrored: facts.phash_mirrored,
        });
        self.fingerprints.add(facts.fingerprint.as_ref());
    }

    /// The number of a label. Labels beyond the 65,535th are taken as contradictions.
    fn number(&mut self, label: Label) -> u16 {
        let next = u16::try_from(self.labels.len()).unwrap_or(CONFLICTING);
        match next.cmp(&CONFLICTING) {
            Ordering::Less => *self.labels.entry(label).or_insert(next),
            _ => self.labels.get(&label).copied().unwrap_or(CONFLICTING),
        }
    }

    /// Sorts by image id and leaves each image in once. The catalog's pages come like
    /// this already.
    pub(super) fn sort(&mut self) {
        if self.images.is_sorted_by(|one, next| one.id < next.id) {
            return;
        }
        let id = |number: &u32| self.images[*number as usize].id;
        let mut order: Vec<u32> = (0..).take(self.images.len()).collect();
        order.sort_unstable_by_key(id);
        order.dedup_by_key(|number| id(number));
        let order = || order.iter().map(|&number| number as usize);
        self.fingerprints = self.fingerprints.of(order());
        self.hashes = order().map(|number| self.hashes[number]).collect();
        self.images = order().map(|number| self.images[number]).collect();
    }
}

#[cfg(test)]
mod tests {
    use maskline_messages::{Detail, Fingerprint, Thumbnail};

    use super::*;

    #[test]
    fn a_million_images_take_less_than_250_megabytes() {
        let bytes = size_of::<Image>() + size_of::<PerceptualHashes>() + Fingerprints::MOST_BYTES;
        assert_eq!(bytes, 224);
        let detail = Detail {
            hash: 1,
            x: 2,
            y: 3,
            scale: 4,
            mirrored: true,
        };
        let fingerprint = Fingerprint {
            details: vec![detail; 100],
            thumbnail: Thumbnail::new([[7; 8]; 8]),
        };
        let mut fingerprints = Fingerprints::default();
        (0..10).for_each(|_| fingerprints.add(Some(&fingerprint)));
        assert_eq!(fingerprints.bytes(), 10 * Fingerprints::MOST_BYTES);
    }
}
