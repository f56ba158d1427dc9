//! Removing sources, images, addresses and versions.

use std::collections::BTreeSet;

use maskline_messages::{ImageId, JobId, Location, LocationId, Reason};
use maskline_storage::{
    Catalog, StorageError,
    records::{
        CandidateOutcome, CandidateState, Claim, Counts, NewCandidate, OutcomeKind, Removal,
    },
};

use crate::{
    environment::Environment,
    samples::{
        add, add_version, candidate, candidate_state, candidates, claimed, copy_of, expanded_job,
        failed, finish, found_collection, found_job, freeze, image, moved_to, named, next_dataset,
        outcome_of, recorded_job, recorded_job_in, rejected, settled, store, usual,
    },
};

contract! {
    a_removed_job_holds_nothing_up_and_what_was_on_its_way_ends,
    a_removed_job_stays_removed,
    an_image_whose_candidate_was_removed_with_its_source_can_be_of_another,
    a_removed_image_can_not_come_back,
    a_removed_image_leaves_other_collections_alone,
    what_was_purged_stays_purged,
    places_are_removed_once_and_for_one_collection,
    images_are_found_by_their_address_and_their_page,
    removed_images_come_in_pages,
    a_proof_from_before_a_removal_adds_nothing,
    erased_candidates_are_only_counted,
    an_image_is_elsewhere_until_it_is_removed_there,
    a_deleted_version_is_never_used_again,
    a_change_of_what_is_unknown_is_not_found,
}

/// The candidate turned out to be this image, and ended.
async fn see(catalog: &dyn Catalog, found: &NewCandidate, bytes: &[u8], kind: OutcomeKind) {
    let outcome = CandidateOutcome {
        image: Some(ImageId::of(bytes)),
        ..outcome_of(found.id, kind)
    };
    catalog.finish_candidate(&outcome).await.unwrap();
}

async fn facts(catalog: &dyn Catalog) -> Vec<ImageId> {
    let facts = catalog.image_facts(&usual(), None, 100).await.unwrap();
    facts.into_iter().map(|fact| fact.image).collect()
}

async fn reason(catalog: &dyn Catalog, found: &NewCandidate) -> Option<Reason> {
    let found = catalog.candidate(found.id).await.unwrap();
    found.expect("it is there").reason
}

async fn counts(catalog: &dyn Catalog, job: JobId) -> Counts {
    catalog.counts(job).await.unwrap()
}

async fn a_removed_job_holds_nothing_up_and_what_was_on_its_way_ends(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let [stored, given_up, in_flight] = candidates(job);
    for found in [&stored, &given_up, &in_flight] {
        add(&*catalog, found).await;
    }
    store(&*catalog, &stored, b"a", "with_mask").await;
    finish(&*catalog, given_up.id, failed()).await;
    assert_eq!(catalog.settled(&usual()).await, Ok(None));

    assert_eq!(catalog.remove_job(job, 7, false).await, Ok(2));
    let removed = found_job(&*catalog, job).await;
    assert_eq!((removed.removed, removed.purged), (Some(7), false));
    let proof = settled(&*catalog, &usual()).await;
    assert_eq!(proof.jobs().count(), 0, "it does not wait to be frozen");
    for found in [&given_up, &in_flight] {
        assert_eq!(reason(&*catalog, found).await, Some(Reason::Removed));
    }
    let after = counts(&*catalog, job).await;
    assert_eq!((after.found, after.stored, after.rejected), (3, 1, 2));
    assert_eq!((after.failed, after.in_flight), (0, 0));
    assert_eq!(after.rejected_by_reason["removed"], 2);

    // A message about one comes late, and a dead letter is replayed.
    finish(&*catalog, in_flight.id, OutcomeKind::Stored).await;
    let reopened = [given_up.id];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    assert_eq!(counts(&*catalog, job).await, after);
    assert_eq!(catalog.remove_job(job, 8, false).await, Ok(0));
    assert_eq!(found_job(&*catalog, job).await.removed, Some(7));
}

async fn a_removed_job_stays_removed(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    for (purge, purged) in [(false, false), (true, true), (false, true)] {
        catalog.remove_job(job, 7, purge).await.unwrap();
        assert_eq!(found_job(&*catalog, job).await.purged, purged);
    }
    // Its expansion comes to an end all the same.
    catalog.finish_expansion(job).await.unwrap();
    assert!(found_job(&*catalog, job).await.is_removed());
    let proof = settled(&*catalog, &usual()).await;
    assert_eq!(proof.jobs().count(), 0);
}

async fn an_image_whose_candidate_was_removed_with_its_source_can_be_of_another(
    environment: &Environment,
) {
    let catalog = environment.catalog().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let (first, copy) = (candidate(one, 0), candidate(other, 0));
    for found in [&first, &copy] {
        add(&*catalog, found).await;
    }
    let document = image(&first, b"a", "with_mask");
    catalog
        .claim_image(&usual(), &document.image, first.id)
        .await
        .unwrap();
    see(&*catalog, &copy, b"a", copy_of(&first)).await;
    catalog.remove_job(one, 7, false).await.unwrap();
    // The storer writes what was on its way.
    let written = catalog.put_image(&document).await;
    assert_eq!(written, Ok(Claim::Held(first.id)));
    see(&*catalog, &first, b"a", OutcomeKind::Stored).await;
    assert_eq!(
        candidate_state(&*catalog, first.id).await,
        CandidateState::Rejected
    );
    assert_eq!(facts(&*catalog).await, [document.image]);
}

async fn a_removed_image_can_not_come_back(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let (first, copy, kept) = (candidate(one, 0), candidate(other, 1), candidate(one, 2));
    let removed = claimed(&*catalog, &first, b"a").await;
    let left = claimed(&*catalog, &kept, b"b").await;
    add(&*catalog, &copy).await;
    see(&*catalog, &copy, b"a", copy_of(&first)).await;

    for _ in 0..2 {
        let images = [removed];
        catalog
            .remove_images(&usual(), &images, false)
            .await
            .unwrap();
        assert_eq!(facts(&*catalog).await, [left]);
        for found in [&first, &copy] {
            assert_eq!(reason(&*catalog, found).await, Some(Reason::Removed));
        }
        let counted = counts(&*catalog, one).await;
        assert_eq!((counted.stored, counted.rejected), (1, 1));
        let counted = counts(&*catalog, other).await;
        assert_eq!((counted.stored, counted.rejected), (0, 1));
    }
    let places = [&first, &copy, &kept].map(|found| LocationId::of(&found.location));
    let gone = catalog.removed_places(&usual(), &places).await.unwrap();
    assert_eq!(gone, BTreeSet::from([places[0], places[1]]));

    let late = candidate(other, 5);
    add(&*catalog, &late).await;
    for found in [&first, &late] {
        let claim = catalog.claim_image(&usual(), &removed, found.id).await;
        assert_eq!(claim, Ok(Claim::Removed));
        let written = catalog.put_image(&image(found, b"a", "with_mask")).await;
        assert_eq!(written, Ok(Claim::Removed));
    }
    assert_eq!(facts(&*catalog).await, [left]);
    let removal = async |image| catalog.removal(&usual(), image).await;
    assert_eq!(removal(&removed).await, Ok(Some(Removal { purged: false })));
    assert_eq!(removal(&left).await, Ok(None));
    let unknown = [ImageId::of(b"c")];
    catalog
        .remove_images(&usual(), &unknown, false)
        .await
        .unwrap();
    let claim = catalog.claim_image(&usual(), &unknown[0], late.id).await;
    assert_eq!(
        claim,
        Ok(Claim::Removed),
        "it was removed before it was seen"
    );
}

async fn a_removed_image_leaves_other_collections_alone(environment: &Environment) {
    let catalog = environment.catalog().await;
    let masks = named("masks");
    let here = candidate(recorded_job(&*catalog).await, 0);
    let job = recorded_job_in(&*catalog, &masks).await;
    let there = moved_to(&masks, candidate(job, 0));
    let image = claimed(&*catalog, &here, b"a").await;
    claimed(&*catalog, &there, b"a").await;
    catalog
        .remove_images(&usual(), &[image], true)
        .await
        .unwrap();
    catalog.delete_images(&usual(), &[image]).await.unwrap();
    catalog.erase_images(&usual(), &[image]).await.unwrap();
    assert_eq!(catalog.image(&usual(), &image).await, Ok(None));
    assert!(catalog.image(&masks, &image).await.unwrap().is_some());
    let facts = catalog.image_facts(&masks, None, 10).await.unwrap();
    assert_eq!(facts.len(), 1);
    assert_eq!(reason(&*catalog, &there).await, None);
    let places = [LocationId::of(&there.location)];
    let removed = catalog.removed_places(&masks, &places).await;
    assert_eq!(removed, Ok(BTreeSet::new()));
}

async fn what_was_purged_stays_purged(environment: &Environment) {
    let catalog = environment.catalog().await;
    let found = candidate(recorded_job(&*catalog).await, 0);
    let image = claimed(&*catalog, &found, b"a").await;
    for (purge, purged) in [(false, false), (true, true), (false, true)] {
        catalog
            .remove_images(&usual(), &[image], purge)
            .await
            .unwrap();
        let removal = catalog.removal(&usual(), &image).await;
        assert_eq!(removal, Ok(Some(Removal { purged })));
    }
}

async fn places_are_removed_once_and_for_one_collection(environment: &Environment) {
    let catalog = environment.catalog().await;
    let place = |number: usize| {
        let url = format!("https://example.org/{number}.jpg").parse().unwrap();
        LocationId::of(&Location::Url(url))
    };
    let places: Vec<_> = (0..2_500).map(place).collect();
    catalog
        .remove_places(&usual(), &places[..2_100])
        .await
        .unwrap();
    catalog
        .remove_places(&usual(), &places[2_000..2_200])
        .await
        .unwrap();
    let removed = catalog.removed_places(&usual(), &places).await.unwrap();
    assert_eq!(removed, places[..2_200].iter().copied().collect());
    let elsewhere = catalog.removed_places(&named("masks"), &places).await;
    assert_eq!(elsewhere, Ok(BTreeSet::new()));
}

async fn images_are_found_by_their_address_and_their_page(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let fetch = async |found: &NewCandidate, bytes: &[u8]| {
        add(&*catalog, found).await;
        let outcome = CandidateOutcome {
            image: Some(ImageId::of(bytes)),
            fetched: Some(maskline_messages::Fetched {
                at: 1,
                etag: None,
                last_modified: None,
            }),
            ..outcome_of(found.id, OutcomeKind::Stored)
        };
        catalog.finish_candidate(&outcome).await.unwrap();
    };
    // The same address showed another picture later.
    fetch(&candidate(one, 0), b"a").await;
    fetch(&candidate(other, 0), b"b").await;
    fetch(&candidate(one, 1), b"c").await;
    add(&*catalog, &candidate(one, 2)).await;
    let at = async |url: &str| {
        let url = url.parse().unwrap();
        catalog.images_at(&usual(), &url).await.unwrap()
    };
    let images = |bytes: &[&[u8]]| bytes.iter().map(|bytes| ImageId::of(bytes)).collect();
    let address = "https://example.org/faces/0.jpg?a=b%20c";
    let of_address: BTreeSet<_> = images(&[b"a", b"b"]);
    assert_eq!(at(address).await, of_address);
    let of_page: BTreeSet<_> = images(&[b"a", b"b", b"c"]);
    assert_eq!(at("https://example.org/faces").await, of_page);
    assert!(
        at("https://example.org/faces/2.jpg?a=b%20c")
            .await
            .is_empty()
    );
    let (masks, address) = (named("masks"), address.parse().unwrap());
    let elsewhere = catalog.images_at(&masks, &address).await;
    assert_eq!(elsewhere, Ok(BTreeSet::new()));
}

async fn removed_images_come_in_pages(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let mut removed = BTreeSet::new();
    for number in 0..10_usize {
        let found = candidate(job, number);
        let image = claimed(&*catalog, &found, &number.to_be_bytes()).await;
        if number % 2 == 0 {
            removed.insert(image);
        }
    }
    let images: Vec<_> = removed.iter().copied().collect();
    catalog
        .remove_images(&usual(), &images, false)
        .await
        .unwrap();
    let page = async |after, limit| {
        let page = catalog.removed_images(&usual(), after, limit).await;
        page.unwrap()
    };
    assert_eq!(page(None, 3).await, images[..3]);
    assert_eq!(page(Some(&images[2]), 3).await, images[3..]);
    assert_eq!(page(Some(&images[4]), 3).await, []);
    let elsewhere = catalog.removed_images(&named("masks"), None, 3).await;
    assert_eq!(elsewhere, Ok(vec![]));
}

async fn a_proof_from_before_a_removal_adds_nothing(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (job, other) = (recorded_job(&*catalog).await, expanded_job(&*catalog).await);
    let found = candidate(job, 0);
    let image = claimed(&*catalog, &found, b"a").await;
    catalog.finish_expansion(job).await.unwrap();
    let stale = async |proof| {
        let dataset = next_dataset(&*catalog, b"stale").await;
        assert_eq!(catalog.add_version(&dataset, &proof).await, Ok(None));
    };
    let proof = settled(&*catalog, &usual()).await;
    catalog
        .remove_images(&usual(), &[image], false)
        .await
        .unwrap();
    stale(proof).await;
    let proof = settled(&*catalog, &usual()).await;
    catalog
        .remove_candidates(&usual(), &[found.id])
        .await
        .unwrap();
    stale(proof).await;
    let proof = settled(&*catalog, &usual()).await;
    catalog.remove_job(other, 7, false).await.unwrap();
    stale(proof).await;
    let proof = settled(&*catalog, &usual()).await;
    assert!(proof.jobs().eq([job]), "{proof:?}");
    add_version(&*catalog, b"a", &proof).await;
}

async fn erased_candidates_are_only_counted(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, c] = candidates(job);
    let image = claimed(&*catalog, &a, b"a").await;
    for found in [&b, &c] {
        add(&*catalog, found).await;
    }
    see(&*catalog, &b, b"b", rejected(Reason::Empty)).await;
    let before = counts(&*catalog, job).await;
    assert_eq!(
        (before.stored, before.rejected, before.in_flight),
        (1, 1, 1)
    );
    catalog
        .remove_images(&usual(), &[image], true)
        .await
        .unwrap();
    catalog.delete_images(&usual(), &[image]).await.unwrap();
    for _ in 0..2 {
        catalog.erase_images(&usual(), &[image]).await.unwrap();
        let ids = [b.id, c.id];
        catalog.erase_candidates(&usual(), &ids).await.unwrap();
    }
    for found in [&a, &b, &c] {
        let left = catalog.candidate(found.id).await.unwrap().unwrap();
        assert_eq!((left.job, left.state), (job, CandidateState::Rejected));
        assert_eq!(left.reason, Some(Reason::Removed));
        assert_eq!((left.image, left.label, left.fetched), (None, None, None));
        assert!(left.provenance.is_empty() && left.history.is_empty());
        assert_eq!(left.location, Location::Path("removed".into()));
    }
    let after = counts(&*catalog, job).await;
    assert_eq!((after.found, after.rejected), (3, 3));
    assert_eq!(after.rejected_by_reason.len(), 1, "{after:?}");
    // The tombstones are left.
    let places = [LocationId::of(&a.location)];
    let removed = catalog.removed_places(&usual(), &places).await.unwrap();
    assert_eq!(removed.len(), 1);
    let claim = catalog.claim_image(&usual(), &image, c.id).await;
    assert_eq!(claim, Ok(Claim::Removed));
    catalog.wipe_deleted().await.unwrap();
}

async fn an_image_is_elsewhere_until_it_is_removed_there(environment: &Environment) {
    let catalog = environment.catalog().await;
    let masks = named("masks");
    let here = candidate(recorded_job(&*catalog).await, 0);
    let image = claimed(&*catalog, &here, b"a").await;
    let is_elsewhere = async || catalog.is_elsewhere(&usual(), &image).await.unwrap();
    assert!(!is_elsewhere().await);
    let job = recorded_job_in(&*catalog, &masks).await;
    claimed(&*catalog, &moved_to(&masks, candidate(job, 0)), b"a").await;
    assert!(is_elsewhere().await);
    catalog
        .remove_images(&masks, &[image], false)
        .await
        .unwrap();
    assert!(!is_elsewhere().await);
}

async fn a_deleted_version_is_never_used_again(environment: &Environment) {
    let catalog = environment.catalog().await;
    expanded_job(&*catalog).await;
    let first = freeze(&*catalog, b"a").await;
    let second = freeze(&*catalog, b"b").await;
    for _ in 0..2 {
        catalog.delete_version(&usual(), 2).await.unwrap();
    }
    let collection = found_collection(&*catalog, &usual()).await;
    let deleted: Vec<bool> = collection.versions.iter().map(|v| v.deleted).collect();
    assert_eq!(deleted, [false, true]);
    assert_eq!(collection.latest_kept(), Some(&first));
    // The same content once more is another version, and its dataset has another id.
    assert_eq!(collection.parent_of(&second.content), Some(second.dataset));
    let third = freeze(&*catalog, b"b").await;
    assert_eq!(third.number, 3);
    assert_ne!(third.dataset, second.dataset);
    catalog.delete_version(&usual(), 9).await.unwrap();
}

async fn a_change_of_what_is_unknown_is_not_found(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = JobId::draw();
    let removing = catalog.remove_job(job, 7, false).await;
    assert_eq!(removing, Err(StorageError::not_found(format!("job {job}"))));
    let unknown = named("masks");
    let not_found = StorageError::not_found("collection masks".to_owned());
    let images = [ImageId::of(b"a")];
    let changes = [
        catalog.remove_images(&unknown, &images, false).await,
        catalog.delete_version(&unknown, 1).await,
    ];
    for change in changes {
        assert_eq!(change, Err(not_found.clone()));
    }
}
