//! The fingerprints of all images of a collection, in little memory.

use maskline_messages::{Detail, Fingerprint, Thumbnail};

/// The most details of an image that are kept. The validator finds no more.
const MOST: usize = 12;

/// The bit of a kept hash that says whether it is that of the mirror image.
const MIRRORED: u64 = !super::BITS;

/// The fingerprints of images, numbered in the order in which they came. Each takes 168 bytes at
/// most: 36 and 11 for each detail.
#[derive(Debug, Default, Clone)]
pub(crate) struct Fingerprints {
    /// For each image, the number of the first detail after its own.
    ends: Vec<u32>,
    thumbnails: Vec<Thumbnail>,
    /// The hash of each detail. The highest bit says whether it is mirrored.
    hashes: Vec<u64>,
    /// The rest of each detail: x, y and scale.
    places: Vec<[u8; 3]>,
}

impl Fingerprints {
    /// The most bytes that an image takes.
    #[cfg(test)]
    pub(crate) const MOST_BYTES: usize = size_of::<u32>()
        + size_of::<Thumbnail>()
        + MOST * (size_of::<u64>() + size_of::<[u8; 3]>());

    /// The bytes of all that is kept.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.ends)
            + size_of_val(&*self.thumbnails)
            + size_of_val(&*self.hashes)
            + size_of_val(&*self.places)
    }

    /// Adds the next image. An image without a fingerprint has no details.
    pub(crate) fn add(&mut self, fingerprint: Option<&Fingerprint>) {
        let details = fingerprint.map_or(&[][..], |fingerprint| &fingerprint.details);
        for detail in details.iter().take(MOST) {
            let mirrored = if detail.mirrored { MIRRORED } else { 0 };
            self.hashes.push(detail.hash & super::BITS | mirrored);
            self.places.push([detail.x, detail.y, detail.scale]);
        }
        let thumbnail = fingerprint.map(|fingerprint| fingerprint.thumbnail);
        let thumbnail =
            thumbnail.unwrap_or_else(|| Thumbnail::new([[0; Thumbnail::SIDE]; Thumbnail::SIDE]));
        self.thumbnails.push(thumbnail);
        let end = u32::try_from(self.hashes.len());
        self.ends
            .push(end.expect("300 million images do not fit into memory"));
    }

    /// The fingerprints of these images, in this order.
    pub(crate) fn of(&self, images: impl Iterator<Item = usize>) -> Self {
        let mut kept = Self::default();
        for image in images {
            let fingerprint = Fingerprint {
                details: self.details(image),
                thumbnail: self.thumbnail(image),
            };
            kept.add(Some(&fingerprint));
        }
        kept
    }

    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// The image that has this detail.
    pub(super) fn image_of(&self, detail: usize) -> u32 {
        self.ends.partition_point(|&end| end as usize <= detail) as u32
    }

    pub(super) fn details(&self, image: usize) -> Vec<Detail> {
        let from = image.checked_sub(1).map_or(0, |before| self.ends[before]);
        let numbers = from as usize..self.ends[image] as usize;
        let found = self.hashes[numbers.clone()]
            .iter()
            .zip(&self.places[numbers]);
        let details = found.map(|(&hash, &[x, y, scale])| Detail {
            hash: hash & super::BITS,
            x,
            y,
            scale,
            mirrored: hash & MIRRORED != 0,
        });
        details.collect()
    }

    pub(super) fn thumbnail(&self, image: usize) -> Thumbnail {
        self.thumbnails[image]
    }
}
