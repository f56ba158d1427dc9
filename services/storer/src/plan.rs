//! Decides which image goes to which split, as a pure function of the images and the settings.
//!
//! * [`images`]: what is known of each image.
//! * [`groups`]: images that look the same or are of one photograph go to one split together.
//! * [`draw`]: orders that are random and yet always the same.

mod draw;
mod groups;
mod images;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use maskline_dataset::{LAYOUT_VERSION, Split};
use maskline_messages::{CollectionName, DatasetId, ImageId, Label, SourceRole};
use maskline_storage::records::SplitSettings;
use sha2::{Digest, Sha256};

use crate::{near_duplicates, photographs};
use draw::sort_by_draw;
use groups::{assign_splits, compare_labels, groups};
use images::{CONFLICTING, Image};

pub(crate) use images::Images;

/// The rows of a dataset that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// The hash of the content.
    pub(crate) content: DatasetId,
    /// The classes, sorted. A row's class is an index into them.
    pub(crate) classes: Vec<Label>,
    /// The rows of each split in the order in which they are written, which is random in
    /// the seed. [`Plan::row`] takes one of these numbers.
    pub(crate) rows: BTreeMap<Split, Vec<u32>>,
    /// How many groups have more than one image.
    pub(crate) near_duplicate_groups: u64,
    /// How many images have several labels, or look like others that have another label.
    pub(crate) set_aside: u64,
    /// How many images are left out because they are in a group with one of a test source.
    pub(crate) withheld: u64,
    /// For each image the number of the first in its group.
    firsts: Vec<u32>,
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
    /// The first image of its group, see [`plan`].
    pub(crate) group: ImageId,
}

impl Plan {
    /// The id of the dataset: a hash of its content and of the version before, because the list
    /// of members depends on that, too.
    pub(crate) fn id(&self, parent: Option<&DatasetId>) -> DatasetId {
        match parent {
            None => self.content,
            Some(parent) => DatasetId::of(format!("{} after {parent}", self.content).as_bytes()),
        }
    }

    /// The row with this number in [`Plan::rows`].
    pub(crate) fn row(&self, number: u32) -> Row {
        row(&self.images, &self.firsts, number)
    }

    /// How many images are in a split.
    pub(crate) fn size(&self, split: Split) -> usize {
        self.rows.get(&split).map_or(0, Vec::len)
    }

    /// Every image that is in a split, sorted by image id, with its split and its class.
    pub(crate) fn members(&self) -> impl Iterator<Item = (ImageId, Split, &Label)> {
        let mut members: Vec<(u32, Split)> = Vec::with_capacity(self.images.len());
        for (&split, rows) in &self.rows {
            members.extend(rows.iter().map(|&number| (number, split)));
        }
        members.sort_unstable_by_key(|(number, _)| *number);
        members.into_iter().map(|(number, split)| {
            let image = &self.images[number as usize];
            (image.id, split, &self.classes[usize::from(image.label)])
        })
    }
}

fn row(images: &[Image], firsts: &[u32], number: u32) -> Row {
    let image = &images[number as usize];
    Row {
        image: image.id,
        class: usize::from(image.label),
        width: image.width.into(),
        height: image.height.into(),
        group: images[firsts[number as usize] as usize].id,
    }
}

/// Plans a dataset of `images`, in whatever order they come.
///
/// Images that look the same are set aside if they have several labels, since one of them must be
/// wrong. They form groups, together with images of the same photograph: two crops of it may show
/// two persons, and so have different labels. The images of test sources go to the test split, and
/// images of other sources that are in a group with one of them are withheld. A group of which an
/// image was trained on in an earlier version goes to training, and one of which an image was
/// validated on to validation. Of the other groups, whole groups of each class go to the validation split
/// until its share is reached, in an order that is random in the seed. So no two images of a
/// group are on both sides, and a model of an earlier version can be measured on the validation
/// split of a later one. A class with at least two groups, all of them new and none of them with
/// images of another class, has at least one image on either side.
pub(crate) fn plan(
    collection: &CollectionName,
    mut images: Images,
    settings: &SplitSettings,
) -> Plan {
    images.sort();
    let Images {
        mut images,
        hashes,
        fingerprints,
        labels,
    } = images;
    let mut sets = near_duplicates::groups(&hashes, settings.near_distance);
    // Here and below, memory that grows with the number of images is freed at once.
    drop(hashes);
    compare_labels(&mut images, &sets.clone().roots());
    if let Some(distance) = settings.detail_distance {
        let size = |image: usize| [images[image].width, images[image].height];
        photographs::join(&fingerprints, size, distance, &mut sets);
    }
    drop(fingerprints);
    let firsts = sets.roots();
    let mut groups = groups(&images, &firsts);
    let near_duplicate_groups = groups.iter().filter(|group| group.size > 1).count() as u64;

    let (classes, others): (Vec<_>, Vec<_>) = labels
        .into_iter()
        .partition(|(_, number)| assign_splits(&images, &firsts, &mut groups, *number, settings));
    // A collection of test sources alone has the classes of its test images.
    let classes = if classes.is_empty() { others } else { classes };
    let mut class_of = vec![CONFLICTING; usize::from(u16::MAX)];
    for ((_, number), class) in classes.iter().zip(0..) {
        class_of[usize::from(*number)] = class;
    }
    let classes: Vec<Label> = classes.into_iter().map(|(label, _)| label).collect();

    let (mut set_aside, mut withheld) = (0, 0);
    let mut rows: BTreeMap<Split, Vec<u32>> = Split::ALL.map(|split| (split, vec![])).into();
    for ((number, image), &first) in (0..).zip(&mut images).zip(&firsts) {
        let group = &groups[first as usize];
        let class = class_of.get(usize::from(image.label));
        image.label = class.copied().unwrap_or(CONFLICTING);
        let is_test = image.role == SourceRole::Test;
        match group.split {
            _ if image.label == CONFLICTING => set_aside += 1,
            Some(Split::Test) if !is_test => {
                image.label = CONFLICTING;
                withheld += 1;
            }
            split => {
                let split = split.expect("each group of a class has a split");
                rows.entry(split).or_default().push(number);
            }
        }
    }
    drop(groups);
    for (split, rows) in &mut rows {
        sort_by_draw(rows, &images, settings.seed, split.name());
    }
    let content = content_hash(collection, &classes, &images, &firsts, &rows, settings);
    Plan {
        content,
        classes,
        rows,
        near_duplicate_groups,
        set_aside,
        withheld,
        firsts,
        images,
    }
}

/// The hash of the content: which images of which collection are in it, under which label
/// and on which side. The layout's version comes first, so that the same images in another
/// layout are another dataset.
fn content_hash(
    collection: &CollectionName,
    classes: &[Label],
    images: &[Image],
    firsts: &[u32],
    rows: &BTreeMap<Split, Vec<u32>>,
    settings: &SplitSettings,
) -> DatasetId {
    let mut hash = Sha256::new();
    hash.update(format!(
        "maskline dataset {LAYOUT_VERSION}\ncollection {collection}\nseed {}\n",
        settings.seed
    ));
    for (split, rows) in rows {
        for &number in rows {
            let row = row(images, firsts, number);
            let label = &classes[row.class];
            hash.update(format!("{} {} {label}\n", split.name(), row.image));
        }
    }
    DatasetId::from_digest(hash.finalize().into())
}
