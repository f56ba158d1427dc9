use std::collections::BTreeSet;

use maskline_messages::{CandidateId, Detail, Fingerprint, Thumbnail};
use maskline_storage::records::ImageFacts;
use maskline_test_support::messages::{JOB, location};
use proptest::prelude::*;

use super::*;
use maskline_storage::membership::Membership;

/// An image of a collection.
#[derive(Debug, Clone)]
struct Fact {
    image: ImageId,
    /// `None` if its sources contradict each other.
    label: Option<&'static str>,
    phash: u64,
    phash_mirrored: u64,
    role: SourceRole,
    /// The split that the earlier versions ask for.
    before: Option<Split>,
    fingerprint: Option<Fingerprint>,
}

fn images(facts: &[Fact]) -> Images {
    let mut images = Images::default();
    for fact in facts {
        let about = ImageFacts {
            image: fact.image,
            width: 256,
            height: 192,
            phash: fact.phash,
            phash_mirrored: fact.phash_mirrored,
            fingerprint: fact.fingerprint.clone(),
            sightings: vec![],
        };
        let member = Membership {
            label: fact.label.map(|label| label.parse().expect("a label")),
            role: fact.role,
            first: (JOB, CandidateId::of(JOB, &location())),
        };
        images.add(&about, member, fact.before);
    }
    images
}

fn plan(facts: Vec<Fact>, settings: &SplitSettings) -> Plan {
    super::plan(&CollectionName::default(), images(&facts), settings)
}

fn fact(name: u64, label: &'static str, phash: u64) -> Fact {
    Fact {
        image: ImageId::of(&name.to_le_bytes()),
        label: Some(label),
        phash,
        phash_mirrored: !phash,
        role: SourceRole::Train,
        before: None,
        fingerprint: None,
    }
}

/// An image whose hash, 64 bits drawn from the name, is far from that of any other name.
fn distinct(name: u64, label: &'static str) -> Fact {
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
    facts[0].label = None;
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
        plan(facts.clone(), &SplitSettings::default()).content,
        plan(facts, &other).content
    );
}

/// The expected id was computed from the rules by a program of its own.
#[test]
fn the_same_images_are_the_same_dataset_in_every_version_of_maskline() {
    let mut facts: Vec<_> = (0..10).map(|n| distinct(n, "with_mask")).collect();
    facts.extend((10..15).map(|n| distinct(n, "without_mask")));
    facts.push(fact(20, "with_mask", facts[3].phash ^ 1));
    facts.push(fact(21, "with_mask", facts[12].phash ^ 1));
    let plan = plan(facts, &SplitSettings::default());
    assert_eq!((plan.near_duplicate_groups, plan.set_aside), (2, 2));
    assert_eq!(
        plan.content.to_string(),
        "ef71c1951df17374bb1c0fdd241b7add614f77e34ea72df3626e600e03a6fdf2"
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
fn no_images_make_an_empty_plan() {
    let plan = plan(vec![], &SplitSettings::default());
    assert!(plan.classes.is_empty() && plan.rows.values().all(Vec::is_empty));
}

fn split_of(plan: &Plan, image: &Fact) -> Option<Split> {
    let mut splits = plan.rows.iter();
    let holds = |rows: &[u32]| rows.iter().any(|&row| plan.row(row).image == image.image);
    splits
        .find(|(_, rows)| holds(rows))
        .map(|(split, _)| *split)
}

#[test]
fn what_was_trained_on_stays_in_training_and_takes_its_group_along() {
    let mut facts: Vec<_> = (0..40).map(|n| distinct(n, "with_mask")).collect();
    for fact in &mut facts[..30] {
        fact.before = Some(Split::Train);
    }
    facts[30].before = Some(Split::Validation);
    facts[31].before = Some(Split::Validation);
    // It looks like one that was trained on, and was validated on.
    let mut like_trained = fact(100, "with_mask", facts[3].phash ^ 1);
    like_trained.before = Some(Split::Validation);
    facts.push(like_trained.clone());
    let like_validated = fact(101, "with_mask", facts[31].phash ^ 1);
    facts.push(like_validated.clone());
    let plan = plan(facts.clone(), &SplitSettings::default());
    for trained in &facts[..30] {
        assert_eq!(split_of(&plan, trained), Some(Split::Train));
    }
    assert_eq!(split_of(&plan, &like_trained), Some(Split::Train));
    for validated in [&facts[30], &facts[31], &like_validated] {
        assert_eq!(split_of(&plan, validated), Some(Split::Validation));
    }
    // A fifth of 42 is 8, 3 of which were decided before.
    assert_eq!(plan.size(Split::Validation), 8);
}

#[test]
fn test_images_go_to_the_test_split_and_what_looks_like_them_is_withheld() {
    let mut facts: Vec<_> = (0..20).map(|n| distinct(n, "with_mask")).collect();
    facts[5].role = SourceRole::Test;
    facts[6].role = SourceRole::Test;
    facts[6].before = Some(Split::Train);
    let mut twin = fact(100, "with_mask", facts[5].phash ^ 1);
    twin.before = Some(Split::Train);
    facts.push(twin.clone());
    let plan = plan(facts.clone(), &SplitSettings::default());
    assert_eq!(split_of(&plan, &facts[5]), Some(Split::Test));
    assert_eq!(split_of(&plan, &facts[6]), Some(Split::Test));
    assert_eq!(split_of(&plan, &twin), None);
    assert_eq!((plan.withheld, plan.set_aside), (1, 0));
    // A fifth of the 18 others.
    assert_eq!(plan.size(Split::Validation), 4);
}

#[test]
fn a_label_that_only_test_images_have_is_no_class_unless_there_are_no_others() {
    let mut facts = vec![distinct(0, "with_mask"), distinct(1, "without_mask")];
    facts[1].role = SourceRole::Test;
    let planned = plan(facts.clone(), &SplitSettings::default());
    assert_eq!((planned.classes.len(), planned.set_aside), (1, 1));
    facts[0].role = SourceRole::Test;
    let planned = plan(facts, &SplitSettings::default());
    assert_eq!((planned.classes.len(), planned.size(Split::Test)), (2, 2));
}

#[test]
fn the_id_depends_on_the_version_before_and_the_content_does_not() {
    let facts: Vec<_> = (0..10).map(|n| distinct(n, "with_mask")).collect();
    let plan = plan(facts, &SplitSettings::default());
    assert_eq!(plan.id(None), plan.content);
    let parent = DatasetId::of(b"parent");
    assert_ne!(plan.id(Some(&parent)), plan.content);
    assert_ne!(plan.id(Some(&parent)), plan.id(Some(&plan.content)));
}

proptest! {
    #[test]
    fn no_group_is_on_both_sides_and_order_changes_nothing(
        images in prop::collection::vec((0u64..12, 0u64..3, 0u64..64, any::<bool>()), 1..60),
        rotation in 0usize..60,
    ) {
        let facts: Vec<Fact> = images
            .iter()
            .enumerate()
            .map(|(n, &(base, class, bit, flip))| {
                let mut fact: Fact = distinct(base, ["a", "b", "c"][class as usize]);
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

#[test]
fn a_row_has_the_group_of_the_first_image_that_looks_the_same() {
    let mut facts: Vec<_> = (0..12).map(|n| distinct(n, "with_mask")).collect();
    facts.push(fact(20, "with_mask", facts[3].phash ^ 1));
    let [three, twenty] = [3, 12].map(|index: usize| facts[index].image);
    let plan = plan(facts, &SplitSettings::default());
    let rows = plan.rows.values().flatten();
    let rows: Vec<Row> = rows.map(|&number| plan.row(number)).collect();
    assert_eq!(rows.len(), 13);
    for row in rows {
        let expected = match row.image {
            image if image == three || image == twenty => three.min(twenty),
            alone => alone,
        };
        assert_eq!(row.group, expected);
    }
}

/// The image with the fingerprint of a part of photograph number `photograph`: the part of it from
/// `left` on, `scale` times as large.
fn crop(mut fact: Fact, photograph: u64, left: f32, scale: f32) -> Fact {
    let draw = |number: u64| {
        let digest = Sha256::digest([photograph.to_le_bytes(), number.to_le_bytes()].concat());
        u64::from_le_bytes(digest[..8].try_into().expect("8 bytes"))
    };
    // Twelve details on a circle in a photograph of 256 × 192 pixels that is darker on its right.
    let details = (0..12).map(|number| {
        let angle = number as f32 / 2.0;
        Detail {
            hash: draw(number) >> 1,
            x: (scale * (128.0 + 60.0 * angle.cos() - left)).round() as u8,
            y: (scale * (96.0 + 60.0 * angle.sin())).round() as u8,
            scale: (32.0 * (scale * 6.0).log2()).round() as u8,
            mirrored: number % 2 == 0,
        }
    });
    let details = details.collect();
    let values = |column: usize| {
        let at = left + (column as f32 + 0.5) * 32.0 / scale;
        15 - (at / 256.0 * 15.0).clamp(0.0, 15.0) as u8
    };
    fact.fingerprint = Some(Fingerprint {
        details,
        thumbnail: Thumbnail::new([std::array::from_fn(values); 8]),
    });
    fact
}

#[test]
fn crops_of_one_photograph_are_one_group_in_one_split() {
    let mut facts: Vec<Fact> = (0..40)
        .map(|n| crop(distinct(n, "with_mask"), n, 0.0, 1.0))
        .collect();
    facts.extend((0..40).map(|n| crop(distinct(100 + n, "with_mask"), n, 20.0, 1.1)));
    let planned = plan(facts.clone(), &SplitSettings::default());
    assert_eq!(planned.near_duplicate_groups, 40);
    assert_eq!(planned.size(Split::Validation), 16);
    for number in 0..40 {
        let [one, other] = [number, 40 + number].map(|index| split_of(&planned, &facts[index]));
        assert_eq!(one, other);
        assert!(one.is_some());
    }
    let without = SplitSettings {
        detail_distance: None,
        ..Default::default()
    };
    assert_eq!(plan(facts.clone(), &without).near_duplicate_groups, 0);
    for fact in &mut facts[40..] {
        fact.fingerprint = None;
    }
    assert_eq!(
        plan(facts, &SplitSettings::default()).near_duplicate_groups,
        0
    );
}

/// One crop of a photograph may show a person with a mask, and another one a person without.
#[test]
fn crops_with_different_labels_are_kept_together_and_not_set_aside() {
    let mut facts: Vec<Fact> = (0..30)
        .map(|n| crop(distinct(n, "with_mask"), n, 0.0, 1.0))
        .collect();
    facts.extend((0..30).map(|n| crop(distinct(100 + n, "without_mask"), n, 20.0, 1.1)));
    let planned = plan(facts.clone(), &SplitSettings::default());
    assert_eq!((planned.set_aside, planned.near_duplicate_groups), (0, 30));
    assert_eq!(
        (planned.size(Split::Train), planned.size(Split::Validation)),
        (48, 12)
    );
    for number in 0..30 {
        let [one, other] = [number, 30 + number].map(|index| split_of(&planned, &facts[index]));
        assert_eq!(one, other);
    }
}

#[test]
fn a_crop_of_a_test_image_is_withheld() {
    let mut facts: Vec<Fact> = (0..20)
        .map(|n| crop(distinct(n, "with_mask"), n, 0.0, 1.0))
        .collect();
    facts[5].role = SourceRole::Test;
    facts.push(crop(distinct(100, "with_mask"), 5, 20.0, 1.1));
    let planned = plan(facts.clone(), &SplitSettings::default());
    assert_eq!(split_of(&planned, &facts[5]), Some(Split::Test));
    assert_eq!(split_of(&planned, &facts[20]), None);
    assert_eq!((planned.withheld, planned.set_aside), (1, 0));
}

#[test]
fn the_order_in_which_crops_come_changes_nothing() {
    let mut facts: Vec<Fact> = (0..12)
        .map(|n| crop(distinct(n, "a"), n / 3, 7.0 * (n % 3) as f32, 1.0))
        .collect();
    let planned = plan(facts.clone(), &SplitSettings::default());
    assert_eq!(planned.near_duplicate_groups, 4);
    facts.reverse();
    assert_eq!(plan(facts.clone(), &SplitSettings::default()), planned);
    facts.rotate_left(5);
    assert_eq!(plan(facts, &SplitSettings::default()), planned);
}
