use std::collections::BTreeSet;

use maskline_storage::records::ImageFacts;
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

/// An image whose hash, 64 bits drawn from the name, is far from that of any other name.
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
        plan.id.to_string(),
        "ebec44087b0d47ae5afc9ce39162896aadfb0c09f0d73eacdee0ede662d02a76"
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
