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
    /// In the order in which they are written: shuffled by the seed.
    pub rows: BTreeMap<Split, Vec<Row>>,
    /// Groups of more than one image.
    pub near_duplicate_groups: u64,
    /// Images of groups that have several labels.
    pub set_aside: u64,
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

/// The images of a job, as far as a plan needs to know them: 64 bytes each, since
/// they may be millions.
#[derive(Debug, Default)]
pub struct Images {
    images: Vec<Image>,
    /// The labels that occur, numbered.
    labels: BTreeMap<Label, u32>,
}

#[derive(Debug)]
struct Image {
    id: ImageId,
    /// The label's number; `None` where duplicates of the image have others.
    label: Option<u32>,
    width: u32,
    height: u32,
    hashes: Hashes,
}

impl Images {
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}

impl Extend<ImageFacts> for Images {
    fn extend<T: IntoIterator<Item = ImageFacts>>(&mut self, facts: T) {
        for fact in facts {
            let number = self.labels.len() as u32;
            let number = *self.labels.entry(fact.label).or_insert(number);
            self.images.push(Image {
                id: fact.image,
                label: fact.conflicting.is_empty().then_some(number),
                width: fact.width,
                height: fact.height,
                hashes: Hashes {
                    straight: fact.phash,
                    mirrored: fact.phash_mirrored,
                },
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

/// Plans a dataset of `images`, in whatever order they come.
///
/// Near-duplicates form groups. A group with several labels is set aside, since
/// one of them must be wrong. Of each class, whole groups go to the validation
/// split until its share is reached, in an order drawn from the seed, so that no
/// two images that look the same are on both sides. A class with at least two
/// groups has at least one image on either side.
pub fn plan(images: Images, settings: &SplitSettings) -> Plan {
    let Images { mut images, labels } = images;
    images.sort_by_key(|image| image.id);
    images.dedup_by_key(|image| image.id);
    let (members, ends) = groups(&images, settings.near_distance);
    let groups = ends.windows(2).map(|ends| &members[ends[0]..ends[1]]);
    let near_duplicate_groups = groups.clone().filter(|group| group.len() > 1).count() as u64;

    let mut by_label: BTreeMap<u32, Vec<Group>> = BTreeMap::new();
    let mut set_aside = 0;
    for group in groups {
        match only_label(&images, group) {
            Some(label) => by_label.entry(label).or_default().push(group),
            None => set_aside += group.len() as u64,
        }
    }

    let mut classes = vec![];
    let mut rows: BTreeMap<Split, Vec<Row>> = Split::ALL.map(|split| (split, vec![])).into();
    for (label, number) in labels {
        let Some(groups) = by_label.remove(&number) else {
            continue;
        };
        for (split, group) in divide(&images, groups, settings) {
            let of_group = group.iter().map(|&member| {
                let image = &images[member as usize];
                Row {
                    image: image.id,
                    class: classes.len(),
                    width: image.width,
                    height: image.height,
                }
            });
            rows.entry(split).or_default().extend(of_group);
        }
        classes.push(label);
    }
    drop(images);
    for (split, rows) in &mut rows {
        rows.sort_by_cached_key(|row| draw(settings.seed, split.name(), &row.image));
    }
    let id = content_hash(&classes, &rows, settings);
    Plan {
        id,
        classes,
        rows,
        near_duplicate_groups,
        set_aside,
    }
}

/// Indices of images that look the same, by image id.
type Group<'a> = &'a [u32];

/// The indices of `images`, sorted by image id, group by group; and where the first
/// group begins and each ends.
fn groups(images: &[Image], distance: u32) -> (Vec<u32>, Vec<usize>) {
    let hashes: Vec<Hashes> = images.iter().map(|image| image.hashes).collect();
    let roots = near::groups(&hashes, distance);
    let root = |member: &u32| roots[*member as usize];
    let mut members: Vec<u32> = (0..).take(images.len()).collect();
    members.sort_by_key(root);
    let mut ends = vec![0];
    for group in members.chunk_by(|one, next| root(one) == root(next)) {
        ends.push(ends[ends.len() - 1] + group.len());
    }
    (members, ends)
}

/// The label that all agree on.
fn only_label(images: &[Image], group: Group) -> Option<u32> {
    let mut labels = group.iter().map(|&member| images[member as usize].label);
    let first = labels.next()??;
    labels.all(|label| label == Some(first)).then_some(first)
}

/// Shares one class's groups out between the splits.
fn divide<'a>(
    images: &[Image],
    mut groups: Vec<Group<'a>>,
    settings: &SplitSettings,
) -> Vec<(Split, Group<'a>)> {
    // The lowest image id stands for its group, whatever order the group came in.
    groups.sort_by_cached_key(|group| {
        let lowest = &images[group[0] as usize];
        draw(settings.seed, "group", &lowest.id)
    });
    let total: usize = groups.iter().map(|group| group.len()).sum();
    let share = (total as f64 * settings.validation.clamp(0.0, 1.0)).round() as usize;
    let both_sides = settings.validation > 0.0 && groups.len() > 1;
    let wanted = if both_sides {
        share.clamp(1, total - 1)
    } else {
        share
    };

    let mut taken = 0;
    let mut divided: Vec<_> = groups
        .into_iter()
        .map(|group| {
            let fits = taken + group.len() <= wanted;
            taken += if fits { group.len() } else { 0 };
            (
                if fits {
                    Split::Validation
                } else {
                    Split::Train
                },
                group,
            )
        })
        .collect();
    // Every group is larger than the share: the smallest must do.
    if both_sides && taken == 0 {
        let smallest = divided.iter_mut().min_by_key(|(_, group)| group.len());
        smallest.expect("more than one group").0 = Split::Validation;
    }
    divided
}

/// A number that is random in the seed and the image and nothing else.
fn draw(seed: u64, purpose: &str, image: &ImageId) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    hash.update(image.as_bytes());
    hash.finalize().into()
}

/// The dataset's version: what is in it, by which label, on which side. The
/// layout's version comes first, so that another layout is another dataset.
fn content_hash(
    classes: &[Label],
    rows: &BTreeMap<Split, Vec<Row>>,
    settings: &SplitSettings,
) -> DatasetId {
    let mut hash = Sha256::new();
    hash.update(format!(
        "maskline dataset {}\nseed {}\n",
        crate::manifest::VERSION,
        settings.seed
    ));
    for (split, rows) in rows {
        for row in rows {
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
        plan.rows[&split]
            .iter()
            .filter(|row| row.class == class)
            .count()
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
                planned.rows[&split].iter().map(|row| row.image).collect()
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
