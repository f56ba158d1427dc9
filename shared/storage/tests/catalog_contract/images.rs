//! Images: who claims them, their documents, facts about them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::join_all;
use maskline_messages::{CandidateId, CollectionName, ImageId, JobId, Reason};
use maskline_storage::{
    Catalog, StorageError,
    records::{
        CandidateOutcome, CandidateState, Claim, ImageFacts, NewCandidate, OutcomeKind, Sighting,
    },
};
use maskline_test_support::messages::face;

use crate::{
    environment::Environment,
    samples::{
        add, candidate, candidates, failed, finish, image, label, labelled, moved_to, named,
        outcome_of, recorded_job, recorded_job_in, rejected, store, usual,
    },
};

contract! {
    of_many_who_claim_an_image_one_wins,
    the_jobs_of_a_collection_share_its_claims,
    claims_of_different_collections_do_not_meet,
    an_image_comes_back_as_it_was,
    an_image_of_a_megabyte_comes_back_as_it_was,
    collections_have_documents_of_their_own,
    image_bytes_come_in_the_order_asked_for,
    the_measurements_of_images_come_in_the_order_asked_for,
    the_candidates_that_stand_for_images_come_in_the_order_asked_for,
    facts_are_of_stored_images_only,
    facts_have_the_sightings_of_all_jobs_of_the_collection,
    sightings_that_are_alike_come_once,
    facts_of_collections_with_similar_names_do_not_mix,
    facts_come_in_full_pages,
}

async fn of_many_who_claim_an_image_one_wins(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
    let job = recorded_job(&*one).await;
    let image = ImageId::of(b"the same bytes");
    let claims = (0..40).map(|number| {
        let catalog = if number % 2 == 0 { &one } else { &other };
        let (catalog, candidate) = (catalog.clone(), candidate(job, number).id);
        tokio::spawn(async move { claim(&*catalog, &usual(), &image, candidate).await })
    });
    let owners: BTreeSet<CandidateId> = join_all(claims).await.into_iter().flatten().collect();
    assert_eq!(owners.len(), 1, "{owners:?}");
    let late = candidate(job, 1_000).id;
    let owner = claim(&*one, &usual(), &image, late).await;
    assert_eq!(Some(&owner), owners.first());
    assert_eq!(claim(&*one, &usual(), &image, owner).await, owner);
}

async fn the_jobs_of_a_collection_share_its_claims(environment: &Environment) {
    let catalog = environment.catalog().await;
    let first = candidate(recorded_job(&*catalog).await, 1);
    let later = candidate(recorded_job(&*catalog).await, 1);
    let image = ImageId::of(b"bytes");
    for candidate in [&first, &later, &first] {
        let owner = claim(&*catalog, &usual(), &image, candidate.id).await;
        assert_eq!(owner, first.id);
    }
    let another = ImageId::of(b"other bytes");
    let owner = claim(&*catalog, &usual(), &another, later.id).await;
    assert_eq!(owner, later.id);
}

async fn claims_of_different_collections_do_not_meet(environment: &Environment) {
    let catalog = environment.catalog().await;
    let image = ImageId::of(b"bytes");
    let claims = ["masks", "masks-2"].map(|name| (named(name), candidate(JobId::draw(), 1).id));
    for _ in 0..2 {
        for (collection, candidate) in &claims {
            let owner = claim(&*catalog, collection, &image, *candidate).await;
            assert_eq!(owner, *candidate);
        }
    }
}

/// Claims an image that nobody has removed. Returns who has it.
async fn claim(
    catalog: &dyn Catalog,
    collection: &CollectionName,
    image: &ImageId,
    candidate: CandidateId,
) -> CandidateId {
    match catalog.claim_image(collection, image, candidate).await {
        Ok(Claim::Held(holder)) => holder,
        other => panic!("nobody removed it: {other:?}"),
    }
}

async fn an_image_comes_back_as_it_was(environment: &Environment) {
    let catalog = environment.catalog().await;
    let found = candidate(recorded_job(&*catalog).await, 1);
    let mut document = image(&found, b"bytes", "with_mask");
    catalog.put_image(&document).await.unwrap();
    let read = async |document: &ImageId| catalog.image(&usual(), document).await;
    assert_eq!(read(&document.image).await, Ok(Some(document.clone())));

    // Another candidate of the collection may stand for it by now.
    let another = candidate(recorded_job(&*catalog).await, 2);
    document.job = another.job;
    document.candidate = another.id;
    document.source = another.location;
    document.label = label("without_mask");
    document.binary = Bytes::from_static(b"other pixels");
    document.prediction = None;
    catalog.put_image(&document).await.unwrap();
    assert_eq!(read(&document.image).await, Ok(Some(document.clone())));
    let absent = catalog.image(&named("masks"), &document.image).await;
    assert_eq!(absent, Ok(None));
    assert_eq!(read(&ImageId::of(b"absent")).await, Ok(None));
}

async fn an_image_of_a_megabyte_comes_back_as_it_was(environment: &Environment) {
    let catalog = environment.catalog().await;
    let candidate = candidate(recorded_job(&*catalog).await, 1);
    let mut document = image(&candidate, b"bytes", "with_mask");
    let noise = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    document.binary = noise.collect::<Vec<u8>>().into();
    catalog.put_image(&document).await.unwrap();
    let bytes = catalog.image_bytes(&usual(), &[document.image]).await;
    assert_eq!(bytes, Ok(vec![document.binary]));
}

async fn collections_have_documents_of_their_own(environment: &Environment) {
    let catalog = environment.catalog().await;
    let mut documents = vec![];
    for name in ["masks", "masks-2"] {
        let job = recorded_job_in(&*catalog, &named(name)).await;
        let found = moved_to(&named(name), candidate(job, 1));
        let mut document = image(&found, b"the same bytes", name);
        document.binary = Bytes::copy_from_slice(name.as_bytes());
        catalog.put_image(&document).await.unwrap();
        documents.push(document);
    }
    for document in documents {
        let (collection, image) = (document.collection.clone(), document.image);
        let bytes = catalog.image_bytes(&collection, &[image]).await;
        assert_eq!(bytes, Ok(vec![document.binary.clone()]));
        let found = catalog.image(&collection, &image).await;
        assert_eq!(found, Ok(Some(document)));
    }
}

async fn image_bytes_come_in_the_order_asked_for(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let images: Vec<_> = (0..10)
        .map(|number| image(&candidate(job, number), format!("{number}").as_bytes(), "a"))
        .collect();
    for image in &images {
        catalog.put_image(image).await.unwrap();
    }
    let asked = [7, 2, 9, 2];
    let ids: Vec<_> = asked.iter().map(|&n: &usize| images[n].image).collect();
    let expected: Vec<_> = asked.iter().map(|&n| images[n].binary.clone()).collect();
    assert_eq!(catalog.image_bytes(&usual(), &ids).await, Ok(expected));
    assert_eq!(catalog.image_bytes(&usual(), &[]).await, Ok(vec![]));

    let absent = ImageId::of(b"absent");
    let missing = catalog.image_bytes(&usual(), &[ids[0], absent]).await;
    let not_found = StorageError::not_found(format!("image {absent} of collection default"));
    assert_eq!(missing, Err(not_found));
    let elsewhere = catalog.image_bytes(&named("masks"), &ids[..1]).await;
    let not_found = StorageError::not_found(format!("image {} of collection masks", ids[0]));
    assert_eq!(elsewhere, Err(not_found));
}

async fn the_measurements_of_images_come_in_the_order_asked_for(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let faces = [None, Some(vec![]), Some(vec![face(); 2])];
    let mut images = vec![];
    for (number, faces) in faces.into_iter().enumerate() {
        let mut image = image(&candidate(job, number), format!("{number}").as_bytes(), "a");
        image.measurements.faces = faces;
        image.measurements.bytes = (number > 0).then_some(1000 * number as u64);
        catalog.put_image(&image).await.unwrap();
        images.push(image);
    }
    let asked = [2, 0, 1, 2];
    let expected = asked
        .map(|n: usize| images[n].measurements.clone())
        .to_vec();
    let asked = asked.map(|n| images[n].image);
    let found = catalog.image_measurements(&usual(), &asked).await;
    assert_eq!(found, Ok(expected));

    let absent = ImageId::of(b"absent");
    let missing = catalog
        .image_measurements(&usual(), &[asked[0], absent])
        .await;
    let not_found = StorageError::not_found(format!("image {absent} of collection default"));
    assert_eq!(missing, Err(not_found));
}

async fn the_candidates_that_stand_for_images_come_in_the_order_asked_for(
    environment: &Environment,
) {
    let catalog = environment.catalog().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let (mut images, mut holders) = (vec![], vec![]);
    for number in 0..6 {
        let holder = candidate(one, number);
        add(&*catalog, &holder).await;
        let stored = store(&*catalog, &holder, &number.to_be_bytes(), "a").await;
        // A later source has the same bytes.
        let copy = candidate(other, number);
        add(&*catalog, &copy).await;
        let duplicate = rejected(Reason::ExactDuplicate { of: holder.id });
        see(&*catalog, &copy, stored.image, &duplicate).await;
        images.push(stored.image);
        holders.push(catalog.candidate(holder.id).await.unwrap().unwrap());
    }
    let asked = [4, 0, 5, 0];
    let ids: Vec<_> = asked.iter().map(|&n: &usize| images[n]).collect();
    let expected: Vec<_> = asked.iter().map(|&n| holders[n].clone()).collect();
    let found = catalog.image_candidates(&usual(), &ids).await;
    assert_eq!(found, Ok(expected));
    assert_eq!(catalog.image_candidates(&usual(), &[]).await, Ok(vec![]));
    let sightings = catalog.sightings(&usual(), &ids).await.unwrap();
    let facts = facts(&*catalog, &usual()).await;
    let of_facts = |id| facts.iter().find(|facts| facts.image == id);
    let expected = ids.iter().map(|&id| &of_facts(id).unwrap().sightings);
    assert!(sightings.iter().eq(expected), "{sightings:#?}");
    assert!(sightings.iter().all(|sightings| sightings.len() == 2));

    let absent = ImageId::of(b"absent");
    let missing = catalog.image_candidates(&usual(), &[ids[0], absent]).await;
    let not_found = StorageError::not_found(format!("image {absent} of collection default"));
    assert_eq!(missing, Err(not_found));
    let unseen = [ids[0], absent];
    let sightings = catalog.sightings(&named("masks"), &unseen).await;
    assert_eq!(sightings, Ok(vec![vec![]; 2]), "of other collections");
    let elsewhere = catalog.image_candidates(&named("masks"), &ids[..1]).await;
    let not_found = StorageError::not_found(format!("image {} of collection masks", ids[0]));
    assert_eq!(elsewhere, Err(not_found));
}

async fn facts_are_of_stored_images_only(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let elsewhere = recorded_job_in(&*catalog, &named("masks")).await;
    let [a, b, c] = candidates(job);
    let d = moved_to(&named("masks"), candidate(elsewhere, 0));
    let all = [a.clone(), b.clone(), c.clone(), d.clone()];
    catalog.add_candidates(&all).await.unwrap();
    let stored = store(&*catalog, &a, b"a", "with_mask").await;
    // The document was written, and then the storer gave up.
    catalog.put_image(&image(&b, b"b", "a")).await.unwrap();
    finish(&*catalog, b.id, failed()).await;
    // The document was written, and the candidate is still in flight.
    catalog.put_image(&image(&c, b"c", "a")).await.unwrap();
    store(&*catalog, &d, b"d", "with_mask").await;

    let facts = facts(&*catalog, &usual()).await;
    assert_eq!(facts.len(), 1, "{facts:?}");
    let fact = &facts[0];
    assert_eq!(fact.image, stored.image);
    assert_eq!((fact.width, fact.height), (stored.width, stored.height));
    assert_eq!(fact.phash, stored.measurements.phash);
    assert_eq!(fact.phash_mirrored, stored.measurements.phash_mirrored);
    assert_eq!(fact.fingerprint, stored.measurements.fingerprint);
    assert!(fact.fingerprint.is_some());
    let only = Sighting {
        candidate: a.id,
        job,
        label: a.label,
        state: CandidateState::Stored,
        reason: None,
    };
    assert_eq!(fact.sightings, [only]);
}

async fn facts_have_the_sightings_of_all_jobs_of_the_collection(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let elsewhere = recorded_job_in(&*catalog, &named("masks")).await;
    let first = labelled(candidate(one, 0), "with_mask");
    let foreign = labelled(candidate(elsewhere, 0), "elsewhere");
    let foreign = moved_to(&named("masks"), foreign);
    add(&*catalog, &first).await;
    add(&*catalog, &foreign).await;
    let stored = store(&*catalog, &first, b"same", "with_mask").await;
    store(&*catalog, &foreign, b"same", "elsewhere").await;

    let copy = || rejected(Reason::ExactDuplicate { of: first.id });
    let unlabelled = |number| NewCandidate {
        label: None,
        ..candidate(other, number)
    };
    let later = [
        (labelled(candidate(one, 1), "without_mask"), copy()),
        (labelled(candidate(other, 1), "without_mask"), copy()),
        (
            labelled(candidate(other, 2), "with_mask"),
            rejected(Reason::Unchanged { since: first.id }),
        ),
        (unlabelled(3), rejected(Reason::NoLabel)),
        (unlabelled(4), failed()),
    ];
    let mut expected = vec![sighting(&first, &OutcomeKind::Stored)];
    for (found, kind) in &later {
        add(&*catalog, found).await;
        see(&*catalog, found, stored.image, kind).await;
        expected.push(sighting(found, kind));
    }
    // Bytes of its own, and bytes that nobody has seen.
    let [.., a, b] = [0, 1, 5, 6].map(|number| candidate(other, number));
    add(&*catalog, &a).await;
    add(&*catalog, &b).await;
    see(
        &*catalog,
        &a,
        ImageId::of(b"rejected"),
        &rejected(Reason::Empty),
    )
    .await;
    finish(&*catalog, b.id, rejected(Reason::Empty)).await;

    expected.sort_by_key(|sighting| sighting.candidate);
    let found = facts(&*catalog, &usual()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].image, stored.image);
    assert_eq!(found[0].sightings, expected);
    let found = facts(&*catalog, &named("masks")).await;
    let expected = sighting(&foreign, &OutcomeKind::Stored);
    assert_eq!(found[0].sightings, [expected], "it is another collection's");

    // One that failed is in flight once more, and is the image as before.
    let (given_up, _) = &later[4];
    let reopened = [given_up.id];
    let reopening = catalog.reopen_candidates(other, &reopened);
    reopening.await.unwrap();
    let found = facts(&*catalog, &usual()).await;
    let state = found[0].sightings.iter().find_map(|sighting| {
        let is_it = sighting.candidate == given_up.id;
        is_it.then_some(sighting.state)
    });
    assert_eq!(state, Some(CandidateState::InFlight));
}

async fn sightings_that_are_alike_come_once(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let first = labelled(candidate(one, 0), "with_mask");
    add(&*catalog, &first).await;
    let stored = store(&*catalog, &first, b"same", "with_mask").await;
    let mut lowest = BTreeMap::from([(first.id, sighting(&first, &OutcomeKind::Stored))]);
    // Each kind has ten candidates in either job.
    for job in [one, other] {
        for (kind, name) in ["with_mask", "without_mask"].into_iter().enumerate() {
            let of = CandidateId(first.id.0);
            let copy = rejected(Reason::ExactDuplicate { of });
            let alike: Vec<_> = (0..10)
                .map(|number| labelled(candidate(job, 100 * (kind + 1) + number), name))
                .collect();
            catalog.add_candidates(&alike).await.unwrap();
            for found in &alike {
                see(&*catalog, found, stored.image, &copy).await;
            }
            let least = alike.iter().min_by_key(|found| found.id).expect("ten");
            lowest.insert(least.id, sighting(least, &copy));
        }
    }
    let found = facts(&*catalog, &usual()).await;
    let expected: Vec<_> = lowest.into_values().collect();
    assert_eq!(expected.len(), 5);
    assert_eq!(found[0].sightings, expected);
}

/// What facts say of a candidate that ended so.
fn sighting(candidate: &NewCandidate, kind: &OutcomeKind) -> Sighting {
    let reason = match kind {
        OutcomeKind::Rejected { reason, .. } => Some(reason.code().to_owned()),
        _ => None,
    };
    Sighting {
        candidate: candidate.id,
        job: candidate.job,
        label: candidate.label.clone(),
        state: kind.state(),
        reason,
    }
}

/// The candidate turned out to be this image, and ended.
async fn see(catalog: &dyn Catalog, found: &NewCandidate, image: ImageId, kind: &OutcomeKind) {
    let outcome = CandidateOutcome {
        image: Some(image),
        ..outcome_of(found.id, kind.clone())
    };
    catalog.finish_candidate(&outcome).await.unwrap();
}

async fn facts(catalog: &dyn Catalog, collection: &CollectionName) -> Vec<ImageFacts> {
    catalog.image_facts(collection, None, 100).await.unwrap()
}

async fn facts_of_collections_with_similar_names_do_not_mix(environment: &Environment) {
    let catalog = environment.catalog().await;
    // `-`, `.` and `0` stand right before and after `/` in ASCII.
    let names = [
        "masks", "mask", "masks-", "masks.", "masks0", "masks0.1", "Masks",
    ];
    let mut stored = BTreeMap::new();
    for name in names {
        let collection = named(name);
        let job = recorded_job_in(&*catalog, &collection).await;
        let mut images = BTreeSet::new();
        for number in 0..3 {
            let found = moved_to(&collection, candidate(job, number));
            add(&*catalog, &found).await;
            let bytes = format!("{name} {number}");
            images.insert(store(&*catalog, &found, bytes.as_bytes(), "a").await.image);
        }
        stored.insert(collection, images);
    }
    for (collection, images) in &stored {
        let found = facts(&*catalog, collection).await;
        let found: Vec<_> = found.iter().map(|fact| fact.image).collect();
        assert!(found.iter().eq(images), "{collection}");
        let (after, rest) = (found[0], &found[1..]);
        let page = catalog.image_facts(collection, Some(&after), 100).await;
        let page: Vec<_> = page.unwrap().iter().map(|fact| fact.image).collect();
        assert_eq!(page, rest, "{collection}");
    }
    assert_eq!(facts(&*catalog, &named("nothing")).await, []);
}

async fn facts_come_in_full_pages(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let all: Vec<_> = (0..30)
        .map(|number| candidate(if number % 2 == 0 { one } else { other }, number))
        .collect();
    catalog.add_candidates(&all).await.unwrap();
    let mut stored = BTreeSet::new();
    for (number, candidate) in all.iter().enumerate() {
        let bytes = number.to_be_bytes();
        if number % 3 == 0 {
            let gap = image(candidate, &bytes, "a");
            catalog.put_image(&gap).await.unwrap();
            finish(&*catalog, candidate.id, failed()).await;
        } else {
            stored.insert(store(&*catalog, candidate, &bytes, "a").await.image);
        }
    }
    let mut found: Vec<ImageId> = vec![];
    let mut pages = vec![];
    loop {
        let page = catalog.image_facts(&usual(), found.last(), 8).await;
        let facts = page.unwrap();
        pages.push(facts.len());
        if facts.is_empty() {
            break;
        }
        for fact in &facts {
            assert_eq!(fact.sightings.len(), 1, "{fact:?}");
        }
        found.extend(facts.iter().map(|fact| fact.image));
    }
    assert_eq!(pages, [8, 8, 4, 0]);
    assert!(found.iter().eq(&stored), "each once, sorted");
}
