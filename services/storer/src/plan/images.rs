//! The images of a job, as far as a plan needs to know them.

use std::collections::BTreeMap;

use maskline_messages::{ImageId, Label};
use maskline_storage::records::ImageFacts;

use crate::near_duplicates::PerceptualHashes;

/// The label of an image whose exact duplicates have other labels, and of a group whose
/// images do.
pub(super) const CONFLICTING: u32 = u32::MAX;

/// The images of a job. Each takes 56 bytes, because there may be millions.
#[derive(Debug, Default)]
pub(crate) struct Images {
    pub(super) images: Vec<Image>,
    /// The hashes of each image.
    pub(super) hashes: Vec<PerceptualHashes>,
    /// The labels that occur, numbered in the order in which they came.
    pub(super) labels: BTreeMap<Label, u32>,
}

/// One image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: ImageId,
    /// The number of its label, or [`CONFLICTING`].
    pub(super) label: u32,
    /// The width of the normalized image, a JPEG, whose sides have 16 bits.
    pub(super) width: u16,
    pub(super) height: u16,
}

impl Images {
    pub(crate) fn is_empty(&self) -> bool {
        self.images.is_empty()
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
        self.hashes = order().map(|number| self.hashes[number]).collect();
        self.images = order().map(|number| self.images[number]).collect();
    }
}

impl Extend<ImageFacts> for Images {
    fn extend<T: IntoIterator<Item = ImageFacts>>(&mut self, facts: T) {
        let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
        for fact in facts {
            let next = self.labels.len() as u32;
            let label = *self.labels.entry(fact.label).or_insert(next);
            let is_clear = fact.conflicting.is_empty();
            self.images.push(Image {
                id: fact.image,
                label: if is_clear { label } else { CONFLICTING },
                width: side(fact.width),
                height: side(fact.height),
            });
            self.hashes.push(PerceptualHashes {
                straight: fact.phash,
                mirrored: fact.phash_mirrored,
            });
        }
    }
}

impl FromIterator<ImageFacts> for Images {
    fn from_iter<T: IntoIterator<Item = ImageFacts>>(facts: T) -> Self {
        let mut images = Self::default();
        images.extend(facts);
        images
    }
}
