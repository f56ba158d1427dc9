//! Which image goes to which split: a pure function of the images and the seed.

use std::collections::BTreeMap;

use maskline_messages::{DatasetId, ImageId, Label};
use maskline_storage::records::{ImageFacts, SplitSettings};
use sha2::{Digest, Sha256};

use crate::near::{self, Hashes};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    Train,
    Validation,
}

impl Split {
    pub const ALL: [Self; 2] = [Self::Train, Self::Validation];

    /// The name that Hugging Face `datasets` gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }
}

/// What a dataset will hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub id: DatasetId,
    /// Sorted; a row's label is an index into them.
    pub classes: Vec<Label>,
    /// In the order in which they are written, shuffled by the seed: see [`Plan::row`].
    pub rows: BTreeMap<Split, Vec<u32>>,
    /// Groups of more than one image.
    pub near_duplicate_groups: u64,
    /// Images of groups that have several labels.
    pub set_aside: u64,
    /// By image id; the label is an index into the classes, or [`UNCLEAR`].
    images: Vec<Image>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub image: ImageId,
    /// Index into [`Plan::classes`].
    pub class: usize,
    /// Of the normalized image, in pixels.
    pub width: u32,
    pub height: u32,
}

impl Plan {
    /// What is written where [`Plan::rows`] has this number.
    pub fn row(&self, number: u32) -> Row {
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

/// The images of a job, as far as a plan needs to know them: 56 bytes each, since
/// they may be millions.
#[derive(Debug, Default)]
pub struct Images {
    images: Vec<Image>,
    /// Of each image.
    hashes: Vec<Hashes>,
    /// The labels that occur, numbered.
    labels: BTreeMap<Label, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Image {
    id: ImageId,
    /// The label's number, or [`UNCLEAR`].
    label: u32,
    /// A JPEG's sides have 16 bits.
    width: u16,
    height: u16,
}

/// The label of an image whose duplicates have others, and of a group that doesn't agree.
const UNCLEAR: u32 = u32::MAX;

impl Images {
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// By image id, each once: the order of the catalog's pages.
    fn sort(&mut self) {
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
            let number = self.labels.len() as u32;
            let number = *self.labels.entry(fact.label).or_insert(number);
            let is_clear = fact.conflicting.is_empty();
            self.images.push(Image {
                id: fact.image,
                label: if is_clear { number } else { UNCLEAR },
                width: side(fact.width),
                height: side(fact.height),
            });
            self.hashes.push(Hashes {
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

/// Images that look the same. The lowest image id stands for its group.
#[derive(Debug, Clone, Copy)]
struct Group {
    /// Images in it.
    size: u32,
    /// What all agree on, or [`UNCLEAR`].
    label: u32,
    split: Split,
}

/// Plans a dataset of `images`, in whatever order they come.
///
/// Near-duplicates form groups. A group with several labels is set aside, since
/// one of them must be wrong. Of each class, whole groups go to the validation
/// split until its share is reached, in an order drawn from the seed, so that no
/// two images that look the same are on both sides. A class with at least two
/// groups has at least one image on either side.
pub fn plan(mut images: Images, settings: &SplitSettings) -> Plan {
    images.sort();
    let Images {
        mut images,
        hashes,
        labels,
    } = images;
    let firsts = near::groups(&hashes, settings.near_distance);
    drop(hashes);
    let mut groups = groups(&images, &firsts);
    let near_duplicate_groups = groups.iter().filter(|group| group.size > 1).count() as u64;
    let unclear = groups.iter().filter(|group| group.label == UNCLEAR);
    let set_aside = unclear.map(|group| u64::from(group.size)).sum();

    let mut classes = vec![];
    let mut class_of = vec![UNCLEAR; labels.len()];
    for (label, number) in labels {
        if divide(&images, &mut groups, number, settings) {
            class_of[number as usize] = classes.len() as u32;
            classes.push(label);
        }
    }

    let mut rows: BTreeMap<Split, Vec<u32>> = Split::ALL.map(|split| (split, vec![])).into();
    for ((number, image), &first) in (0..).zip(&mut images).zip(&firsts) {
        let group = &groups[first as usize];
        let class = class_of.get(group.label as usize);
        image.label = class.copied().unwrap_or(UNCLEAR);
        if image.label != UNCLEAR {
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

/// What is at a group's first image; at the others nothing, of size 0. `firsts`: of each
/// image the first of its group.
fn groups(images: &[Image], firsts: &[u32]) -> Vec<Group> {
    let none = Group {
        size: 0,
        label: 0,
        split: Split::Train,
    };
    let mut groups = vec![none; images.len()];
    for (image, &first) in images.iter().zip(firsts) {
        let group = &mut groups[first as usize];
        if group.size == 0 {
            group.label = image.label;
        } else if group.label != image.label {
            group.label = UNCLEAR;
        }
        group.size += 1;
    }
    groups
}

/// Shares one label's groups out between the splits. `false` where it has none.
fn divide(images: &[Image], groups: &mut [Group], label: u32, settings: &SplitSettings) -> bool {
    let is_of_label = |group: &Group| group.size > 0 && group.label == label;
    let of_label = (0..).zip(&*groups).filter(|(_, group)| is_of_label(group));
    let mut firsts: Vec<u32> = of_label.map(|(first, _)| first).collect();
    sort_by_draw(&mut firsts, images, settings.seed, "group");
    let size = |first: u32| groups[first as usize].size as usize;
    let total: usize = firsts.iter().map(|&first| size(first)).sum();
    let share = (total as f64 * settings.validation.clamp(0.0, 1.0)).round() as usize;
    let both_sides = settings.validation > 0.0 && firsts.len() > 1;
    let wanted = if both_sides {
        share.clamp(1, total - 1)
    } else {
        share
    };

    // Where every group is larger than the share, the smallest must do.
    let smallest = firsts.iter().copied().min_by_key(|&first| size(first));
    let mut taken = 0;
    for &first in &firsts {
        let group = &mut groups[first as usize];
        if taken + group.size as usize <= wanted {
            taken += group.size as usize;
            group.split = Split::Validation;
        }
    }
    if both_sides && taken == 0 {
        let smallest = smallest.expect("more than one group");
        groups[smallest as usize].split = Split::Validation;
    }
    !firsts.is_empty()
}

/// Puts images into an order that is random in the seed and the images and nothing else.
fn sort_by_draw(numbers: &mut [u32], images: &[Image], seed: u64, purpose: &str) {
    numbers.sort_by_cached_key(|&number| draw(seed, purpose, &images[number as usize].id));
}

/// A number that is random in the seed and the image and nothing else.
fn draw(seed: u64, purpose: &str, image: &ImageId) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    hash.update(image.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The dataset's version: what is in it, by which label, on which side. The
/// layout's version comes first, so that another layout is another dataset.
fn content_hash(
    classes: &[Label],
    images: &[Image],
    rows: &BTreeMap<Split, Vec<u32>>,
    settings: &SplitSettings,
) -> DatasetId {
    let mut hash = Sha256::new();
    hash.update(format!(
        "maskline dataset {}\nseed {}\n",
        crate::manifest::VERSION,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn plan(facts: Vec<ImageFacts>, settings: &SplitSettings) -> Plan {
        super::plan(facts.into_iter().collect(), settings)
    }

    fn fact(name: u64, label: &str, phash: u64) -> ImageFacts {
        ImageFacts {
            image: ImageId::of(&name.to_le_bytes()),
            label: label.parse().expect("a label"),
            conflicting: vec![],
            width: 256,
            height: 192,
            phash,
            phash_mirrored: !phash,
        }
    }

    /// Far apart from each other: 64 bits drawn from the name.
    fn distinct(name: u64, label: &str) -> ImageFacts {
        let digest = Sha256::digest(name.to_le_bytes());
        let phash = u64::from_le_bytes(digest[..8].try_into().expect("8 bytes"));
        fact(name, label, phash)
    }

    fn count(plan: &Plan, split: Split, class: usize) -> usize {
        let rows = plan.rows[&split].iter().map(|&number| plan.row(number));
        rows.filter(|row| row.class == class).count()
    }

    #[test]
    fn the_share_holds_for_each_class() {
        let facts = (0..100)
            .map(|n| distinct(n, "with_mask"))
            .chain((100..150).map(|n| distinct(n, "without_mask")))
            .collect();
        let plan = plan(facts, &SplitSettings::default());
        assert_eq!(
            plan.classes.iter().map(Label::as_str).collect::<Vec<_>>(),
            ["with_mask", "without_mask"]
        );
        assert_eq!(
            (
                count(&plan, Split::Validation, 0),
                count(&plan, Split::Train, 0)
            ),
            (20, 80)
        );
        assert_eq!(
            (
                count(&plan, Split::Validation, 1),
                count(&plan, Split::Train, 1)
            ),
            (10, 40)
        );
    }

    #[test]
    fn a_group_with_two_labels_is_set_aside_whole() {
        let mut facts: Vec<_> = (0..20).map(|n| distinct(n, "with_mask")).collect();
        let phash = facts[3].phash;
        facts.push(fact(100, "without_mask", phash ^ 1));
        facts.push(distinct(101, "without_mask"));
        let plan = plan(facts, &SplitSettings::default());
        assert_eq!(plan.set_aside, 2);
        assert_eq!(plan.near_duplicate_groups, 1);
        let kept: usize = plan.rows.values().map(Vec::len).sum();
        assert_eq!(kept, 20);
    }

    #[test]
    fn a_duplicate_with_another_label_sets_its_image_aside() {
        let mut facts: Vec<_> = (0..10).map(|n| distinct(n, "with_mask")).collect();
        facts[0].conflicting = vec!["without_mask".parse().expect("a label")];
        assert_eq!(plan(facts, &SplitSettings::default()).set_aside, 1);
    }

    #[test]
    fn another_seed_is_another_dataset() {
        let facts: Vec<_> = (0..50).map(|n| distinct(n, "with_mask")).collect();
        let other = SplitSettings {
            seed: 7,
            ..Default::default()
        };
        assert_ne!(
            plan(facts.clone(), &SplitSettings::default()).id,
            plan(facts, &other).id
        );
    }

    #[test]
    fn two_groups_of_a_class_are_never_on_one_side() {
        for names in [[0, 1], [2, 3], [4, 5], [6, 7]] {
            let facts = names.map(|n| distinct(n, "with_mask")).to_vec();
            let plan = plan(facts, &SplitSettings::default());
            assert_eq!(
                (
                    count(&plan, Split::Train, 0),
                    count(&plan, Split::Validation, 0)
                ),
                (1, 1)
            );
        }
    }

    #[test]
    fn nothing_makes_an_empty_plan() {
        let plan = plan(vec![], &SplitSettings::default());
        assert!(plan.classes.is_empty() && plan.rows.values().all(Vec::is_empty));
    }

    proptest! {
        #[test]
        fn no_group_is_on_both_sides_and_order_changes_nothing(
            images in prop::collection::vec((0u64..12, 0u64..3, 0u64..64, any::<bool>()), 1..60),
            rotation in 0usize..60,
        ) {
            let facts: Vec<ImageFacts> = images
                .iter()
                .enumerate()
                .map(|(n, &(base, class, bit, flip))| {
                    let mut fact = distinct(base, ["a", "b", "c"][class as usize]);
                    fact.image = ImageId::of(&(n as u64 + 1000).to_le_bytes());
                    fact.phash ^= 1 << bit;
                    fact.phash_mirrored ^= 1 << bit;
                    if flip {
                        std::mem::swap(&mut fact.phash, &mut fact.phash_mirrored);
                    }
                    fact
                })
                .collect();
            let settings = SplitSettings::default();
            let planned = plan(facts.clone(), &settings);

            let mut turned = facts.clone();
            turned.rotate_left(rotation % facts.len());
            prop_assert_eq!(&planned, &plan(turned, &settings));

            let sides = |split: Split| -> BTreeSet<ImageId> {
                let rows = planned.rows[&split].iter();
                rows.map(|&number| planned.row(number).image).collect()
            };
            let (train, validation) = (sides(Split::Train), sides(Split::Validation));
            prop_assert!(train.is_disjoint(&validation));
            prop_assert_eq!((train.len() + validation.len()) as u64 + planned.set_aside, facts.len() as u64);
            for one in facts.iter().filter(|fact| train.contains(&fact.image)) {
                for other in facts.iter().filter(|fact| validation.contains(&fact.image)) {
                    prop_assert!((one.phash ^ other.phash).count_ones() > settings.near_distance);
                    prop_assert!((one.phash_mirrored ^ other.phash).count_ones() > settings.near_distance);
                }
            }
        }
    }
}
