//! Versions of a collection that grows.

use std::collections::{BTreeMap, BTreeSet};

use maskline_dataset::{Member, Split, read_members};
use maskline_messages::{CollectionName, DatasetId, ImageId, ObjectKey, Source, SourceRole};
use maskline_storage::records::{Job, JobState, SourceCount};
use maskline_test_support::{messages::face, records};

use crate::environment::{Environment, document, labeled};

/// A job whose source is a folder of this name.
pub fn folder(name: &str) -> Job {
    Job {
        source: Source::Folder { path: name.into() },
        ..records::job()
    }
}

impl Environment {
    /// Enqueues a source of which everything is stored, and freezes the collection.
    pub async fn grow(&self, job: &Job, numbers: std::ops::Range<u64>) -> DatasetId {
        self.fill(job, numbers).await;
        assert!(self.freeze().await);
        let frozen = self.state(job.id).await;
        assert_eq!(frozen.state, JobState::Frozen, "{:?}", frozen.error);
        frozen.dataset.unwrap()
    }

    /// Enqueues a source of which everything is stored.
    pub async fn fill(&self, job: &Job, numbers: std::ops::Range<u64>) {
        let (_, candidates) = self.enqueue(job, numbers.clone()).await;
        for (number, candidate) in numbers.zip(candidates) {
            self.store(job.id, candidate, number).await;
        }
        self.expanded(job.id).await;
    }

    pub async fn members(&self, dataset: &DatasetId) -> BTreeMap<ImageId, Member> {
        let key = ObjectKey::dataset_members(dataset);
        let file = self.stores.objects.get(&key).await.unwrap();
        let mut members = BTreeMap::new();
        read_members(file, |member| {
            assert!(members.insert(member.image, member).is_none());
        })
        .unwrap();
        members
    }
}

/// The images of a version that are in a split.
pub fn in_split(members: &BTreeMap<ImageId, Member>, split: Split) -> BTreeSet<ImageId> {
    let present = members.values().filter(|member| member.label.is_some());
    let members = present.filter(|member| member.split == split);
    members.map(|member| member.image).collect()
}

#[tokio::test]
async fn sources_that_are_enqueued_together_give_one_version() {
    let environment = Environment::new().await;
    let (a, b) = (folder("a"), folder("b"));
    environment.fill(&a, 0..20).await;
    environment.fill(&b, 20..50).await;
    assert!(environment.freeze().await);
    let catalog = &environment.stores.catalog;
    let collection = catalog
        .collection(&CollectionName::default())
        .await
        .unwrap();
    let versions = collection.unwrap().versions;
    assert_eq!(versions.len(), 1);
    for job in [&a, &b] {
        let job = environment.state(job.id).await;
        let frozen_in = (job.state, job.version, job.dataset);
        let expected = (JobState::Frozen, Some(1), Some(versions[0].dataset));
        assert_eq!(frozen_in, expected);
    }
    let dataset = catalog
        .dataset(&versions[0].dataset)
        .await
        .unwrap()
        .unwrap();
    let count = |job: &Job, images| SourceCount {
        job: job.id,
        role: SourceRole::Train,
        images,
    };
    assert_eq!(dataset.sources, [count(&a, 20), count(&b, 30)]);
    assert!(!environment.freeze().await, "once");
}

#[tokio::test]
async fn what_was_trained_on_is_never_validated_on_later() {
    let environment = Environment::new().await;
    let first = environment.grow(&folder("a"), 0..50).await;
    let first = environment.members(&first).await;
    // The source is enqueued again. It has lost some of its images, and has new ones.
    let second = environment.grow(&folder("a"), 100..150).await;
    let second = environment.members(&second).await;
    assert_eq!(second.len(), 100, "what is gone is remembered");
    assert!(
        second
            .values()
            .filter(|member| member.label.is_none())
            .count()
            == 50
    );
    // They come back with another source.
    let third = environment.grow(&folder("b"), 0..50).await;
    let third = environment.members(&third).await;
    let validated = in_split(&third, Split::Validation);
    for earlier in [&first, &second] {
        let trained = in_split(earlier, Split::Train);
        assert!(trained.len() >= 30);
        assert!(trained.is_disjoint(&validated));
        assert!(trained.is_subset(&in_split(&third, Split::Train)));
    }
    assert_eq!(validated.len(), 20, "a fifth of 100");
}

#[tokio::test]
async fn test_sources_make_a_test_split_of_which_nothing_is_trained_on() {
    let environment = Environment::new().await;
    environment.fill(&folder("a"), 0..40).await;
    let elsewhere = Job {
        role: SourceRole::Test,
        ..folder("elsewhere")
    };
    let dataset = environment.grow(&elsewhere, 100..110).await;
    let members = environment.members(&dataset).await;
    assert_eq!(in_split(&members, Split::Test).len(), 10);
    assert_eq!(in_split(&members, Split::Validation).len(), 8);
    assert_eq!(in_split(&members, Split::Train).len(), 32);
}

#[tokio::test]
async fn images_with_several_faces_are_counted_in_all_splits() {
    let environment = Environment::new().await;
    let (job, candidates) = environment.enqueue(&folder("a"), 0..20).await;
    for (number, candidate) in (0..).zip(candidates) {
        let mut document = document(labeled(job, candidate, number));
        document.measurements.faces = match number {
            0..7 => Some(vec![face(), face()]),
            7 => None,
            8 => Some(vec![]),
            _ => Some(vec![face()]),
        };
        environment.store_document(&document).await;
    }
    environment.expanded(job).await;
    assert!(environment.freeze().await);
    let dataset = environment.state(job).await.dataset.unwrap();
    let catalog = &environment.stores.catalog;
    let dataset = catalog.dataset(&dataset).await.unwrap().unwrap();
    assert_eq!(dataset.several_faces, 7);
}

#[tokio::test]
async fn a_source_that_is_not_to_be_frozen_waits_for_the_next_that_is() {
    let environment = Environment::new().await;
    let waiting = Job {
        freeze: false,
        ..folder("a")
    };
    let (_, candidates) = environment.enqueue(&waiting, 0..10).await;
    for (number, candidate) in (0..10).zip(candidates) {
        environment.store(waiting.id, candidate, number).await;
    }
    let catalog = &environment.stores.catalog;
    catalog.finish_expansion(waiting.id).await.unwrap();
    assert!(!environment.freeze().await);
    let dataset = environment.grow(&folder("b"), 10..20).await;
    assert_eq!(environment.members(&dataset).await.len(), 20);
    assert_eq!(environment.state(waiting.id).await.dataset, Some(dataset));
}

#[tokio::test]
async fn a_collection_of_which_nothing_is_left_can_not_be_frozen() {
    let environment = Environment::new().await;
    environment.grow(&folder("a"), 0..10).await;
    let empty = folder("a");
    environment.fill(&empty, 0..0).await;
    assert!(environment.freeze().await);
    assert_eq!(environment.state(empty.id).await.state, JobState::Failed);
    let catalog = &environment.stores.catalog;
    let collection = catalog
        .collection(&CollectionName::default())
        .await
        .unwrap();
    let collection = collection.unwrap();
    assert_eq!(collection.versions.len(), 1);
    assert!(collection.error.is_some());
}
