//! Who has an image of which several candidates were found: the claim, the document, and what a
//! later source is told.

use maskline_messages::{Fetched, ImageId, Reason};
use maskline_storage::records::{CandidateOutcome, Claim, NewCandidate};

use crate::{
    environment::Environment,
    samples::{
        add, candidate, claimed, copy_of, failed, finish, image, outcome_of, recorded_job,
        rejected, store, usual,
    },
};

contract! {
    a_later_candidate_takes_an_image_over_from_one_that_ended_without_it,
    a_document_is_written_by_whoever_has_the_image,
    what_is_unchanged_must_still_be_there,
}

async fn a_later_candidate_takes_an_image_over_from_one_that_ended_without_it(
    environment: &Environment,
) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let id = ImageId::of(b"a");
    let claim = async |found: &NewCandidate| {
        let claim = catalog.claim_image(&usual(), &id, found.id).await;
        match claim.unwrap() {
            Claim::Held(holder) => holder,
            Claim::Removed => panic!("nobody removed it"),
        }
    };
    let all: Vec<_> = (0..4).map(|number| candidate(job, number)).collect();
    catalog.add_candidates(&all).await.unwrap();
    let [failing, unfit, stored, late] = [&all[0], &all[1], &all[2], &all[3]];
    assert_eq!(claim(failing).await, failing.id);
    assert_eq!(claim(unfit).await, failing.id, "it is on its way");
    finish(&*catalog, failing.id, failed()).await;
    assert_eq!(claim(unfit).await, unfit.id);
    assert_eq!(
        claim(failing).await,
        unfit.id,
        "its dead letter is replayed too late"
    );
    finish(&*catalog, unfit.id, rejected(Reason::Empty)).await;
    assert_eq!(claim(stored).await, stored.id);
    store(&*catalog, stored, b"a", "with_mask").await;
    for found in [late, failing, unfit, stored] {
        assert_eq!(claim(found).await, stored.id);
    }
}

async fn a_document_is_written_by_whoever_has_the_image(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let (first, late) = (candidate(job, 0), candidate(job, 1));
    let id = claimed(&*catalog, &first, b"a").await;
    add(&*catalog, &late).await;
    let written = catalog.put_image(&image(&late, b"a", "without_mask")).await;
    assert_eq!(written, Ok(Claim::Held(first.id)));
    let document = catalog.image(&usual(), &id).await.unwrap().unwrap();
    assert_eq!(document.candidate, first.id);
}

async fn what_is_unchanged_must_still_be_there(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let found = candidate(one, 0);
    add(&*catalog, &found).await;
    let fetched = Fetched {
        at: 1,
        etag: Some("\"5\"".to_owned()),
        last_modified: None,
    };
    let outcome = CandidateOutcome {
        image: Some(ImageId::of(b"a")),
        fetched: Some(fetched),
        ..outcome_of(found.id, copy_of(&candidate(one, 9)))
    };
    catalog.finish_candidate(&outcome).await.unwrap();
    let locations = [found.location.clone()];
    let known = async || {
        let known = catalog.known_images(&usual(), other, &locations).await;
        known.unwrap()[0].is_some()
    };
    assert!(!known().await, "it is a copy of one that was given up");
    let holder = candidate(one, 1);
    claimed(&*catalog, &holder, b"a").await;
    assert!(known().await);
    let images = [ImageId::of(b"a")];
    catalog
        .remove_images(&usual(), &images, true)
        .await
        .unwrap();
    catalog.delete_images(&usual(), &images).await.unwrap();
    assert!(!known().await);
}
