//! Images: who claims them, their documents, facts about them.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::join_all;
use maskline_messages::{CandidateId, ImageId, JobId, Reason};
use maskline_storage::{
    StorageError,
    records::{CandidateOutcome, NewCandidate},
};

use crate::{
    environment::Environment,
    samples::{
        candidate, candidates, failed, finish, image, label, labelled, outcome_of, recorded_job,
        rejected, store,
    },
};

contract! {
    of_many_who_claim_an_image_one_wins,
    claims_of_different_jobs_do_not_meet,
    an_image_comes_back_as_it_was,
    an_image_of_a_megabyte_comes_back_as_it_was,
    image_bytes_come_in_the_order_asked_for,
    image_sources_come_in_the_order_asked_for,
    facts_are_of_stored_images_only,
    facts_name_the_labels_of_duplicates,
    facts_come_in_full_pages,
}

async fn of_many_who_claim_an_image_one_wins(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
    let job = recorded_job(&*one).await;
    let image = ImageId::of(b"the same bytes");
    let claims = (0..40).map(|number| {
        let catalog = if number % 2 == 0 { &one } else { &other };
        let (catalog, candidate) = (catalog.clone(), candidate(job, number).id);
        tokio::spawn(async move { catalog.claim_image(job, &image, candidate).await.unwrap() })
    });
    let owners: BTreeSet<CandidateId> = join_all(claims).await.into_iter().flatten().collect();
    assert_eq!(owners.len(), 1, "{owners:?}");
    let late = candidate(job, 1_000).id;
    let owner = one.claim_image(job, &image, late).await.unwrap();
    assert_eq!(Some(&owner), owners.first());
    assert_eq!(one.claim_image(job, &image, owner).await, Ok(owner));
}

async fn claims_of_different_jobs_do_not_meet(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, other) = (candidate(JobId::draw(), 1), candidate(JobId::draw(), 1));
    let image = ImageId::of(b"bytes");
    for candidate in [one, other] {
        let owner = catalog
            .claim_image(candidate.job, &image, candidate.id)
            .await;
        assert_eq!(owner, Ok(candidate.id));
    }
}

async fn an_image_comes_back_as_it_was(environment: &Environment) {
    let catalog = environment.catalog().await;
    let candidate = candidate(recorded_job(&*catalog).await, 1);
    let mut document = image(&candidate, b"bytes", "with_mask");
    catalog.put_image(&document).await.unwrap();
    let found = catalog.image(document.job, &document.image).await;
    assert_eq!(found, Ok(Some(document.clone())));

    document.label = label("without_mask");
    document.binary = Bytes::from_static(b"other pixels");
    document.prediction = None;
    catalog.put_image(&document).await.unwrap();
    let found = catalog.image(document.job, &document.image).await;
    assert_eq!(found, Ok(Some(document.clone())));
    let absent = catalog.image(JobId::draw(), &document.image).await;
    assert_eq!(absent, Ok(None));
}

async fn an_image_of_a_megabyte_comes_back_as_it_was(environment: &Environment) {
    let catalog = environment.catalog().await;
    let candidate = candidate(recorded_job(&*catalog).await, 1);
    let mut document = image(&candidate, b"bytes", "with_mask");
    let noise = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    document.binary = noise.collect::<Vec<u8>>().into();
    catalog.put_image(&document).await.unwrap();
    let bytes = catalog.image_bytes(document.job, &[document.image]).await;
    assert_eq!(bytes, Ok(vec![document.binary]));
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
    assert_eq!(catalog.image_bytes(job, &ids).await, Ok(expected));
    assert_eq!(catalog.image_bytes(job, &[]).await, Ok(vec![]));

    let absent = ImageId::of(b"absent");
    let missing = catalog.image_bytes(job, &[ids[0], absent]).await;
    let not_found = StorageError::not_found(format!("image {absent} of job {job}"));
    assert_eq!(missing, Err(not_found));
}

async fn image_sources_come_in_the_order_asked_for(environment: &Environment) {
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
    let expected: Vec<_> = asked.iter().map(|&n| images[n].source.clone()).collect();
    assert_ne!(expected[0], expected[1], "the images' locations differ");
    assert_eq!(catalog.image_sources(job, &ids).await, Ok(expected));
    assert_eq!(catalog.image_sources(job, &[]).await, Ok(vec![]));

    let absent = ImageId::of(b"absent");
    let missing = catalog.image_sources(job, &[ids[0], absent]).await;
    let not_found = StorageError::not_found(format!("image {absent} of job {job}"));
    assert_eq!(missing, Err(not_found));
}

async fn facts_are_of_stored_images_only(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (job, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let [a, b, c] = candidates(job);
    let [d, ..] = candidates(other);
    let all = [a.clone(), b.clone(), c.clone(), d.clone()];
    catalog.add_candidates(&all).await.unwrap();
    let stored = store(&*catalog, &a, b"a", "with_mask").await;
    // The document was written, and then the storer gave up.
    catalog.put_image(&image(&b, b"b", "a")).await.unwrap();
    finish(&*catalog, b.id, failed()).await;
    // The document was written, and the candidate is still in flight.
    catalog.put_image(&image(&c, b"c", "a")).await.unwrap();
    store(&*catalog, &d, b"d", "with_mask").await;

    let facts = catalog.image_facts(job, None, 100).await.unwrap();
    assert_eq!(facts.len(), 1, "{facts:?}");
    let fact = &facts[0];
    assert_eq!((fact.image, &fact.label), (stored.image, &stored.label));
    assert_eq!((fact.width, fact.height), (stored.width, stored.height));
    assert_eq!(fact.phash, stored.measurements.phash);
    assert_eq!(fact.phash_mirrored, stored.measurements.phash_mirrored);
    assert_eq!(fact.conflicting, []);
}

async fn facts_name_the_labels_of_duplicates(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (job, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let first = labelled(candidate(job, 0), "with_mask");
    let elsewhere = labelled(candidate(other, 0), "elsewhere");
    let duplicates = [
        labelled(candidate(job, 1), "without_mask"),
        labelled(candidate(job, 2), "with_mask"),
        labelled(candidate(job, 3), "incorrect"),
        labelled(candidate(job, 4), "without_mask"),
        NewCandidate {
            label: None,
            ..candidate(job, 5)
        },
    ];
    catalog
        .add_candidates(&[first.clone(), elsewhere.clone()])
        .await
        .unwrap();
    catalog.add_candidates(&duplicates).await.unwrap();
    let stored = store(&*catalog, &first, b"same", "with_mask").await;
    store(&*catalog, &elsewhere, b"same", "elsewhere").await;
    for duplicate in &duplicates {
        let outcome = CandidateOutcome {
            image: Some(stored.image),
            ..outcome_of(
                duplicate.id,
                rejected(Reason::ExactDuplicate { of: first.id }),
            )
        };
        catalog.finish_candidate(&outcome).await.unwrap();
    }
    let facts = catalog.image_facts(job, None, 10).await.unwrap();
    assert_eq!(facts.len(), 1);
    let conflicting = [label("incorrect"), label("without_mask")];
    assert_eq!(facts[0].conflicting, conflicting);
}

async fn facts_come_in_full_pages(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let all: Vec<_> = (0..30).map(|number| candidate(job, number)).collect();
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
        let facts = catalog.image_facts(job, found.last(), 8).await.unwrap();
        pages.push(facts.len());
        if facts.is_empty() {
            break;
        }
        found.extend(facts.iter().map(|fact| fact.image));
    }
    assert_eq!(pages, [8, 8, 4, 0]);
    assert!(found.iter().eq(&stored), "each once, sorted");
}
