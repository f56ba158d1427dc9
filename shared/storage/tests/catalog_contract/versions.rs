//! The versions of a collection, and the proof that each needs.

use futures::future::join_all;
use maskline_messages::DatasetId;
use maskline_storage::{
    Catalog,
    records::{Dataset, JobState, Settled, Version},
};

use crate::{
    environment::Environment,
    samples::{
        add, add_version, candidate, dataset_after, expanded_job, failed, finish, found_collection,
        job_with_failed_candidate, named, next_dataset, recorded_job, recorded_job_in, settled,
        state, store, usual, wish,
    },
};

contract! {
    versions_are_numbered_from_1,
    the_same_content_is_the_same_version,
    another_process_with_the_same_proof_adds_no_other_version,
    of_many_who_add_a_version_all_get_it,
    a_proof_from_before_a_source_was_enqueued_adds_nothing,
    a_proof_from_before_a_candidate_was_reopened_adds_nothing,
    a_proof_from_before_an_expansion_was_reopened_adds_nothing,
    a_proof_outlives_what_happens_elsewhere,
    why_a_collection_can_not_be_frozen_is_known_until_the_next_version,
}

async fn versions_are_numbered_from_1(environment: &Environment) {
    let catalog = environment.catalog().await;
    expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let (mut versions, mut datasets): (Vec<Version>, Vec<Dataset>) = (vec![], vec![]);
    // The third has the content of the first once more.
    for content in [b"a", b"b", b"a"] {
        let dataset = next_dataset(&*catalog, content).await;
        let version = catalog.add_version(&dataset, &proof).await.unwrap();
        let version = version.expect("nothing was opened");
        let number = u32::try_from(versions.len() + 1).unwrap();
        let expected = Version {
            number,
            dataset: dataset.id,
            content: dataset.content,
            deleted: false,
            created: dataset.created,
        };
        assert_eq!(version, expected);
        assert_eq!(dataset.parent, datasets.last().map(|before| before.id));
        versions.push(version);
        datasets.push(dataset);
    }
    let recorded = found_collection(&*catalog, &usual()).await;
    assert_eq!(recorded.versions, versions);
    assert_eq!(recorded.latest(), versions.last());
    for dataset in &datasets {
        let recorded = catalog.dataset(&dataset.id).await;
        assert_eq!(recorded, Ok(Some(dataset.clone())));
    }
    datasets.reverse();
    assert_eq!(catalog.datasets(2).await, Ok(datasets[..2].to_vec()));
    assert_eq!(catalog.datasets(10).await, Ok(datasets));
    assert_eq!(catalog.dataset(&DatasetId::of(b"absent")).await, Ok(None));
}

async fn the_same_content_is_the_same_version(environment: &Environment) {
    let catalog = environment.catalog().await;
    expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let first = next_dataset(&*catalog, b"a").await;
    let version = catalog.add_version(&first, &proof).await.unwrap();
    assert!(version.is_some());
    let later = Dataset {
        created: first.created + 1,
        ..first.clone()
    };
    let again = catalog.add_version(&later, &proof).await;
    assert_eq!(again, Ok(version.clone()));
    assert_eq!(
        catalog.dataset(&first.id).await,
        Ok(Some(first.clone())),
        "the first stays"
    );
    // It is the same after another source was enqueued that has nothing new.
    expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let again = catalog.add_version(&later, &proof).await;
    assert_eq!(again, Ok(version.clone()));
    let recorded = found_collection(&*catalog, &usual()).await;
    assert_eq!(
        Some(&recorded.versions[..]),
        version.as_ref().map(std::slice::from_ref)
    );
}

async fn another_process_with_the_same_proof_adds_no_other_version(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
    let job = expanded_job(&*one).await;
    let (of_one, of_other) = (
        settled(&*one, &usual()).await,
        settled(&*other, &usual()).await,
    );
    assert_eq!(of_one, of_other);
    let dataset = next_dataset(&*one, b"a").await;
    let version = one.add_version(&dataset, &of_one).await.unwrap();
    let version = version.expect("nothing was opened");
    // The first process dies. The second had planned at the same time, or plans after that.
    let same = Dataset {
        created: dataset.created + 1,
        ..dataset.clone()
    };
    let planned_later = dataset_after(Some(&version), b"a");
    assert_ne!(planned_later.id, dataset.id);
    for dataset in [same, planned_later] {
        let added = other.add_version(&dataset, &of_other).await;
        assert_eq!(added, Ok(Some(version.clone())));
    }
    assert_eq!(
        found_collection(&*one, &usual()).await.versions,
        std::slice::from_ref(&version)
    );
    other.freeze(job, &version, &of_other).await.unwrap();
    assert_eq!(state(&*one, job).await, JobState::Frozen);
}

async fn of_many_who_add_a_version_all_get_it(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
    expanded_job(&*one).await;
    let proof = settled(&*one, &usual()).await;
    let dataset = next_dataset(&*one, b"a").await;
    let adding = (0..10).map(|number| {
        let catalog = if number % 2 == 0 { &one } else { &other };
        let (catalog, dataset, proof) = (catalog.clone(), dataset.clone(), proof.clone());
        tokio::spawn(async move { catalog.add_version(&dataset, &proof).await.unwrap() })
    });
    let added = join_all(adding).await;
    let versions = found_collection(&*one, &usual()).await.versions;
    assert_eq!(versions.len(), 1, "{versions:?}");
    for version in added {
        assert_eq!(version.unwrap().as_ref(), versions.first());
    }
}

async fn a_proof_from_before_a_source_was_enqueued_adds_nothing(environment: &Environment) {
    let catalog = environment.catalog().await;
    expanded_job(&*catalog).await;
    let before = settled(&*catalog, &usual()).await;
    let later = recorded_job(&*catalog).await;
    adds_nothing(&*catalog, &before).await;
    catalog.finish_expansion(later).await.unwrap();
    adds_nothing(&*catalog, &before).await;
    add_version(&*catalog, b"b", &settled(&*catalog, &usual()).await).await;
}

async fn a_proof_from_before_a_candidate_was_reopened_adds_nothing(environment: &Environment) {
    let catalog = environment.catalog().await;
    for is_expanded in [true, false] {
        let (job, candidate) = job_with_failed_candidate(&*catalog).await;
        match is_expanded {
            true => catalog.finish_expansion(job).await.unwrap(),
            false => catalog.fail_job(job, "the list was gone").await.unwrap(),
        }
        let before = settled(&*catalog, &usual()).await;
        let reopened = [candidate.id];
        catalog.reopen_candidates(job, &reopened).await.unwrap();
        adds_nothing(&*catalog, &before).await;
        store(&*catalog, &candidate, b"a", "with_mask").await;
        adds_nothing(&*catalog, &before).await;
        settled(&*catalog, &usual()).await;
    }
}

async fn a_proof_from_before_an_expansion_was_reopened_adds_nothing(environment: &Environment) {
    let catalog = environment.catalog().await;
    expanded_job(&*catalog).await;
    let gone = recorded_job(&*catalog).await;
    catalog.fail_job(gone, "the list was gone").await.unwrap();
    let before = settled(&*catalog, &usual()).await;
    let reopening = catalog.reopen_expansion(gone, "dead letter");
    reopening.await.unwrap();
    adds_nothing(&*catalog, &before).await;
    let found = candidate(gone, 0);
    add(&*catalog, &found).await;
    catalog.finish_expansion(gone).await.unwrap();
    store(&*catalog, &found, b"a", "with_mask").await;
    adds_nothing(&*catalog, &before).await;
}

/// A plan with this proof is of no use any more.
async fn adds_nothing(catalog: &dyn Catalog, proof: &Settled) {
    let before = found_collection(catalog, &usual()).await;
    let stale = next_dataset(catalog, b"stale").await;
    assert_eq!(catalog.add_version(&stale, proof).await, Ok(None));
    fail_freezing(catalog, "stale", proof).await;
    assert_eq!(found_collection(catalog, &usual()).await, before);
    let recorded = catalog.dataset(&stale.id).await;
    assert_eq!(recorded, Ok(None), "nobody would ever use it");
}

async fn a_proof_outlives_what_happens_elsewhere(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let elsewhere = recorded_job_in(&*catalog, &named("masks")).await;
    let found = candidate(elsewhere, 0);
    add(&*catalog, &found).await;
    finish(&*catalog, found.id, failed()).await;
    catalog.finish_expansion(elsewhere).await.unwrap();
    let reopened = [found.id];
    catalog
        .reopen_candidates(elsewhere, &reopened)
        .await
        .unwrap();
    // Nor is it about requests, leases and messages that come once more.
    catalog.request_training(&usual(), &wish()).await.unwrap();
    catalog.finish_expansion(job).await.unwrap();
    catalog.fail_job(job, "too late").await.unwrap();
    catalog.reopen_expansion(job, "dead letter").await.unwrap();
    let version = add_version(&*catalog, b"a", &proof).await;
    catalog.freeze(job, &version, &proof).await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Frozen);
}

async fn why_a_collection_can_not_be_frozen_is_known_until_the_next_version(
    environment: &Environment,
) {
    let catalog = environment.catalog().await;
    expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let error = async || found_collection(&*catalog, &usual()).await.error;
    for why in ["nothing is left", "nothing is left of it"] {
        fail_freezing(&*catalog, why, &proof).await;
        assert_eq!(error().await.as_deref(), Some(why));
    }
    let first = add_version(&*catalog, b"a", &proof).await;
    assert_eq!(error().await, None);

    // The next try fails, and what is in the collection then is what was in it before.
    fail_freezing(&*catalog, "nothing is left", &proof).await;
    assert_eq!(
        found_collection(&*catalog, &usual()).await.versions,
        std::slice::from_ref(&first)
    );
    assert_eq!(add_version(&*catalog, b"a", &proof).await, first);
    assert_eq!(error().await, None);
}

/// Records why the usual collection can't be frozen.
async fn fail_freezing(catalog: &dyn Catalog, error: &str, proof: &Settled) {
    let name = usual();
    let failing = catalog.fail_freezing(&name, error, proof);
    failing.await.unwrap();
}
