//! Decides which image goes to which split, as a pure function of the images and the settings.
//!
//! * [`images`]: what is known of each image.
//! * [`groups`]: images that look the same go to one split together.
//! * [`draw`]: orders that are random and yet always the same.

mod draw;
mod groups;
mod images;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use maskline_dataset::{LAYOUT_VERSION, Split};
use maskline_messages::{DatasetId, ImageId, Label};
use maskline_storage::records::SplitSettings;
use sha2::{Digest, Sha256};

use crate::near_duplicates;
use draw::sort_by_draw;
use groups::{assign_splits, groups};
use images::{CONFLICTING, Image};

pub(crate) use images::Images;

/// The rows of a dataset that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) id: DatasetId,
    /// The classes, sorted. A row's class is an index into them.
    pub(crate) classes: Vec<Label>,
    /// The rows of each split in the order in which they are written, which is random in
    /// the seed. [`Plan::row`] takes one of these numbers.
    pub(crate) rows: BTreeMap<Split, Vec<u32>>,
    /// How many groups have more than one image.
    pub(crate) near_duplicate_groups: u64,
    /// How many images are in groups that have several labels.
    pub(crate) set_aside: u64,
    /// Sorted by image id. Here an image's label is an index into the classes, or
    /// [`CONFLICTING`].
    images: Vec<Image>,
}

/// One row of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) image: ImageId,
    /// An index into [`Plan::classes`].
    pub(crate) class: usize,
    /// The width of the normalized image in pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Plan {
    /// The row with this number in [`Plan::rows`].
    pub(crate) fn row(&self, number: u32) -> Row {
        row(&self.images, number)
    }
}

fn row(images: &[Image], number: u32) -> Row {
    let image = &images[number as usize];
    Row {
        image: image.id,
        class: image.label as usize,
        width: image.width.into(),
        height: image.height.into(),
    }
}

/// Plans a dataset of `images`, in whatever order they come.
///
/// Near-duplicates form groups. A group with several labels is set aside, since one of
/// them must be wrong. Whole groups of each class go to the validation split until its
/// share is reached, in an order that is random in the seed. So no two images that look
/// the same are on both sides. A class with at least two groups has at least one image on
/// either side.
pub(crate) fn plan(mut images: Images, settings: &SplitSettings) -> Plan {
    images.sort();
    let Images {
        mut images,
        hashes,
        labels,
    } = images;
    let firsts = near_duplicates::groups(&hashes, settings.near_distance);
    // Here and below, memory that grows with the number of images is freed at once.
    drop(hashes);
    let mut groups = groups(&images, &firsts);
    let near_duplicate_groups = groups.iter().filter(|group| group.size > 1).count() as u64;
    let conflicting = groups.iter().filter(|group| group.label == CONFLICTING);
    let set_aside = conflicting.map(|group| u64::from(group.size)).sum();

    let mut classes = vec![];
    let mut class_of = vec![CONFLICTING; labels.len()];
    for (label, number) in labels {
        if assign_splits(&images, &mut groups, number, settings) {
            class_of[number as usize] = classes.len() as u32;
            classes.push(label);
        }
    }

    let mut rows: BTreeMap<Split, Vec<u32>> = Split::ALL.map(|split| (split, vec![])).into();
    for ((number, image), &first) in (0..).zip(&mut images).zip(&firsts) {
        let group = &groups[first as usize];
        let class = class_of.get(group.label as usize);
        image.label = class.copied().unwrap_or(CONFLICTING);
        if image.label != CONFLICTING {
            rows.entry(group.split).or_default().push(number);
        }
    }
    drop((groups, firsts));
    for (split, rows) in &mut rows {
        sort_by_draw(rows, &images, settings.seed, split.name());
    }
    let id = content_hash(&classes, &images, &rows, settings);
    Plan {
        id,
        classes,
        rows,
        near_duplicate_groups,
        set_aside,
        images,
    }
}

/// The dataset's id: a hash of which images are in it, under which label and on which
/// side. The layout's version comes first, so that the same images in another layout are
/// another dataset.
fn content_hash(
    classes: &[Label],
    images: &[Image],
    rows: &BTreeMap<Split, Vec<u32>>,
    settings: &SplitSettings,
) -> DatasetId {
    let mut hash = Sha256::new();
    hash.update(format!(
        "maskline dataset {LAYOUT_VERSION}\nseed {}\n",
        settings.seed
    ));
    for (split, rows) in rows {
        for &number in rows {
            let row = row(images, number);
            let label = &classes[row.class];
            hash.update(format!("{} {} {label}\n", split.name(), row.image));
        }
    }
    DatasetId::from_digest(hash.finalize().into())
}
