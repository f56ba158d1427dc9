//! Collections: their sources, when nothing of them is in flight, and their versions.

use std::collections::BTreeSet;

use futures::future::join_all;
use maskline_messages::DatasetId;
use maskline_storage::{
    StorageError,
    records::{
        Collection, Dataset, Job, JobState, OutcomeKind, SplitSettings, TrainingWish, Version,
    },
};
use maskline_test_support::records;

use crate::{
    environment::Environment,
    samples::{
        add, candidate, candidates, dataset_after, expanded_job, expanded_job_in, failed, finish,
        found_collection, freeze, job, label, named, recorded_job, recorded_job_in, settled, state,
        store, usual, wish,
    },
};

contract! {
    a_collection_that_is_there_stays_as_it_is,
    of_many_who_make_a_collection_one_decides,
    collections_come_newest_first,
    the_jobs_of_a_collection_come_oldest_first,
    a_collection_is_settled_when_nothing_of_it_is_in_flight,
    a_failed_job_holds_its_collection_up_while_a_candidate_is_in_flight,
    sources_that_were_enqueued_together_share_a_proof,
    jobs_that_are_frozen_or_failed_are_not_in_the_proof,
    training_is_requested_once_and_announced_once,
    a_change_of_an_unknown_collection_is_not_found,
}

fn masks() -> Collection {
    let classes = vec![
        label("without_mask"),
        label("with_mask"),
        label("with_mask"),
    ];
    let split = SplitSettings {
        validation: 0.25,
        seed: 7,
        near_distance: 6,
        detail_distance: Some(7),
    };
    Collection {
        created: 1_790_000_000_000,
        ..Collection::new(named("masks"), classes, split)
    }
}

async fn a_collection_that_is_there_stays_as_it_is(environment: &Environment) {
    let catalog = environment.catalog().await;
    let first = masks();
    assert_eq!(first.classes, [label("with_mask"), label("without_mask")]);
    assert_eq!(catalog.collection(&first.name).await, Ok(None));
    let recorded = catalog.create_collection(&first).await;
    assert_eq!(recorded, Ok(first.clone()));
    let other = Collection {
        classes: vec![label("cat")],
        split: SplitSettings::default(),
        created: 1,
        ..first.clone()
    };
    for again in [&other, &first] {
        let recorded = catalog.create_collection(again).await;
        assert_eq!(recorded, Ok(first.clone()));
    }
    assert_eq!(found_collection(&*catalog, &first.name).await, first);

    // What came to it since stays, too.
    let job = expanded_job_in(&*catalog, &first.name).await;
    let proof = settled(&*catalog, &first.name).await;
    let dataset = Dataset {
        collection: first.name.clone(),
        ..dataset_after(None, b"a")
    };
    let version = catalog.add_version(&dataset, &proof).await.unwrap();
    catalog
        .request_training(&first.name, &wish())
        .await
        .unwrap();
    let recorded = catalog.create_collection(&other).await.unwrap();
    assert_eq!(recorded.classes, first.classes);
    assert_eq!(Some(&recorded.versions[0]), version.as_ref());
    assert_eq!(recorded.requests.len(), 1);
    let proof_now = settled(&*catalog, &first.name).await;
    assert_eq!(proof_now, proof, "{job} is all that is in it");
}

async fn of_many_who_make_a_collection_one_decides(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
    let making = (0..20).map(|number| {
        let catalog = if number % 2 == 0 { &one } else { &other };
        let catalog = catalog.clone();
        let classes = vec![label(&format!("class_{number}"))];
        let mine = Collection::new(named("masks"), classes, SplitSettings::default());
        tokio::spawn(async move { catalog.create_collection(&mine).await.unwrap().classes })
    });
    let made = join_all(making).await;
    let classes: BTreeSet<_> = made.into_iter().map(Result::unwrap).collect();
    assert_eq!(classes.len(), 1, "{classes:?}");
    let recorded = found_collection(&*one, &named("masks")).await.classes;
    assert_eq!(Some(&recorded), classes.first());
}

async fn collections_come_newest_first(environment: &Environment) {
    let catalog = environment.catalog().await;
    assert_eq!(catalog.collections(10).await, Ok(vec![]));
    for (created, name) in [(20, "b"), (10, "c"), (30, "a")] {
        let collection = Collection {
            name: named(name),
            created,
            ..records::collection()
        };
        catalog.create_collection(&collection).await.unwrap();
    }
    let listed = async |limit| {
        let listed = catalog.collections(limit).await.unwrap();
        let names = listed.into_iter().map(|collection| collection.name);
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed(10).await, ["a", "b", "c"].map(named));
    assert_eq!(listed(2).await, ["a", "b"].map(named));
}

async fn the_jobs_of_a_collection_come_oldest_first(environment: &Environment) {
    let catalog = environment.catalog().await;
    let mut of_one = vec![];
    // Their states are in no order, and neither are their ids.
    for (created, collection) in [(20, "one"), (10, "one"), (5, "other"), (30, "one")] {
        let job = Job {
            created,
            collection: named(collection),
            ..job()
        };
        records::create_job(&*catalog, &job).await;
        if collection == "one" {
            of_one.push(job);
        }
    }
    catalog.finish_expansion(of_one[2].id).await.unwrap();
    catalog.fail_job(of_one[1].id, "why").await.unwrap();
    of_one.sort_by_key(|job| job.created);
    let expected: Vec<_> = of_one.iter().map(|job| job.id).collect();
    let listed = catalog.jobs_of(&named("one")).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|job| job.id).collect();
    assert_eq!(ids, expected);
    assert_eq!(listed[0].state, JobState::Failed);
    assert_eq!(catalog.jobs_of(&named("nothing")).await, Ok(vec![]));
}

async fn a_collection_is_settled_when_nothing_of_it_is_in_flight(environment: &Environment) {
    let catalog = environment.catalog().await;
    let is_settled = async || catalog.settled(&usual()).await.unwrap().is_some();
    assert!(!is_settled().await, "there is no such collection");
    let made = catalog.create_collection(&records::collection()).await;
    made.unwrap();
    assert!(is_settled().await, "nothing is in it");

    let job = recorded_job(&*catalog).await;
    let [a, b, _] = candidates(job);
    assert!(!is_settled().await, "it may find more");
    catalog
        .add_candidates(&[a.clone(), b.clone()])
        .await
        .unwrap();
    catalog.finish_expansion(job).await.unwrap();
    assert!(!is_settled().await, "two are in flight");
    finish(&*catalog, a.id, OutcomeKind::Stored).await;
    assert!(!is_settled().await, "one is in flight");
    finish(&*catalog, b.id, failed()).await;
    assert!(is_settled().await);
    let before = settled(&*catalog, &usual()).await;

    let second = recorded_job(&*catalog).await;
    assert!(!is_settled().await, "another source may find more");
    let found = candidate(second, 0);
    add(&*catalog, &found).await;
    catalog.finish_expansion(second).await.unwrap();
    assert!(!is_settled().await, "one of another source is in flight");
    // A process that saw the collection settled before freezes the first source now.
    let version = Version {
        number: 1,
        dataset: DatasetId::of(b"a"),
        content: DatasetId::of(b"a"),
        deleted: false,
        created: 1,
    };
    catalog.freeze(job, &version, &before).await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Frozen);
    assert!(!is_settled().await, "the other is in flight as before");
    finish(&*catalog, found.id, OutcomeKind::Stored).await;
    assert!(is_settled().await);

    let elsewhere = recorded_job_in(&*catalog, &named("masks")).await;
    assert!(is_settled().await, "another collection is no matter");
    assert_eq!(catalog.settled(&named("masks")).await, Ok(None));
    catalog.finish_expansion(elsewhere).await.unwrap();
    settled(&*catalog, &named("masks")).await;
}

async fn a_failed_job_holds_its_collection_up_while_a_candidate_is_in_flight(
    environment: &Environment,
) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, _] = candidates(job);
    catalog
        .add_candidates(&[a.clone(), b.clone()])
        .await
        .unwrap();
    catalog.fail_job(job, "the list was gone").await.unwrap();
    assert_eq!(catalog.settled(&usual()).await, Ok(None), "two in flight");
    store(&*catalog, &a, b"a", "with_mask").await;
    finish(&*catalog, b.id, failed()).await;
    let proof = settled(&*catalog, &usual()).await;
    assert_eq!(proof.jobs().count(), 0, "it does not wait to be frozen");

    catalog.reopen_candidates(job, &[b.id]).await.unwrap();
    assert_eq!(catalog.settled(&usual()).await, Ok(None), "one in flight");
    store(&*catalog, &b, b"b", "with_mask").await;
    settled(&*catalog, &usual()).await;
}

async fn sources_that_were_enqueued_together_share_a_proof(environment: &Environment) {
    let catalog = environment.catalog().await;
    let mut jobs = BTreeSet::new();
    for _ in 0..10 {
        jobs.insert(recorded_job(&*catalog).await);
    }
    for &job in &jobs {
        assert_eq!(catalog.settled(&usual()).await, Ok(None));
        let found = candidate(job, 0);
        add(&*catalog, &found).await;
        catalog.finish_expansion(job).await.unwrap();
        let bytes = job.to_string();
        store(&*catalog, &found, bytes.as_bytes(), "with_mask").await;
    }
    let proof = settled(&*catalog, &usual()).await;
    assert!(proof.jobs().eq(jobs.iter().copied()), "{proof:?}");
    assert_eq!(settled(&*catalog, &usual()).await, proof, "as before");

    let version = freeze(&*catalog, b"a").await;
    for &job in &jobs {
        let found = catalog.job(job).await.unwrap().unwrap();
        assert_eq!(found.state, JobState::Frozen);
        assert_eq!(found.version, Some(version.number));
    }
    assert_eq!(
        found_collection(&*catalog, &usual()).await.versions,
        [version]
    );
}

async fn jobs_that_are_frozen_or_failed_are_not_in_the_proof(environment: &Environment) {
    let catalog = environment.catalog().await;
    let frozen = expanded_job(&*catalog).await;
    freeze(&*catalog, b"a").await;
    let not_expanded = recorded_job(&*catalog).await;
    catalog.fail_job(not_expanded, "why").await.unwrap();
    let empty = expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let failing = catalog.fail_settled(empty, "nothing is left", &proof);
    failing.await.unwrap();
    let proof = settled(&*catalog, &usual()).await;
    assert_eq!(proof.jobs().count(), 0, "{frozen} is frozen: {proof:?}");
    let waiting = expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    assert!(proof.jobs().eq([waiting]), "{proof:?}");
}

async fn training_is_requested_once_and_announced_once(environment: &Environment) {
    let catalog = environment.catalog().await;
    let made = catalog.create_collection(&records::collection()).await;
    made.unwrap();
    let (one, other) = (wish(), wish());
    let changed = TrainingWish {
        networks: vec![],
        ..one.clone()
    };
    for wish in [&one, &other, &one, &changed] {
        catalog.request_training(&usual(), wish).await.unwrap();
    }
    let requests = async || found_collection(&*catalog, &usual()).await.requests;
    assert_eq!(requests().await, [one.clone(), other.clone()]);
    for _ in 0..2 {
        catalog.finish_request(&usual(), &one).await.unwrap();
        assert_eq!(requests().await, std::slice::from_ref(&other));
    }
    catalog.finish_request(&usual(), &other).await.unwrap();
    assert_eq!(requests().await, []);
}

async fn a_change_of_an_unknown_collection_is_not_found(environment: &Environment) {
    let catalog = environment.catalog().await;
    expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let unknown = named("masks");
    let not_found = StorageError::not_found("collection masks".to_owned());
    let dataset = Dataset {
        collection: unknown.clone(),
        ..dataset_after(None, b"a")
    };
    let added = catalog.add_version(&dataset, &proof).await;
    assert_eq!(added, Err(not_found.clone()));
    assert_eq!(catalog.dataset(&dataset.id).await, Ok(None));
    let changes = [
        catalog.fail_freezing(&unknown, "why", &proof).await,
        catalog.request_training(&unknown, &wish()).await,
        catalog.finish_request(&unknown, &wish()).await,
    ];
    for change in changes {
        assert_eq!(change, Err(not_found.clone()));
    }
    assert_eq!(catalog.collection(&unknown).await, Ok(None));
    assert_eq!(catalog.settled(&unknown).await, Ok(None));
}
