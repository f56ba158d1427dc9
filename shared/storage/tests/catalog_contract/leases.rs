//! Leases: how they are acquired, renewed, watched and taken over.

use std::time::Duration;

use futures::future::join_all;
use maskline_storage::{
    lease::{HeldLease, LeaseWatch},
    records::{Lease, Work},
};

use crate::{
    environment::Environment,
    samples::{acquire, freezing, lease_on, run},
};

contract! {
    work_is_offered_once,
    work_that_is_offered_again_is_nobodys,
    of_many_who_acquire_a_lease_one_wins,
    a_lease_is_exchanged_only_as_it_was_seen,
    free_work_is_claimed_and_finished,
    released_and_dropped_work_is_free_again,
    a_living_holder_keeps_its_work,
    progress_does_not_delay_renewals,
    a_dead_lease_is_taken_over_and_its_holder_notices,
    deaths_and_failures_are_counted_until_the_next_progress,
}

async fn work_is_offered_once(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (work, done) = (freezing(), freezing());
    let training = Work::Train(run(1).id);
    for work in [&work, &done, &training] {
        catalog.offer_work(work).await.unwrap();
    }
    let seen = lease_on(&*catalog, &work).await;
    assert_eq!((&seen.work, &seen.owner), (&work, &None));
    let held = catalog.acquire_lease(&seen, "a").await.unwrap().unwrap();
    let ended = acquire(&*catalog, &done, "a").await;
    assert_eq!(catalog.finish_work(&ended).await, Ok(true));
    assert_eq!(
        catalog.finish_work(&ended).await,
        Ok(false),
        "nobody holds it"
    );
    for work in [&work, &done] {
        catalog.offer_work(work).await.unwrap();
    }
    let open = catalog.open_work("freeze").await;
    assert_eq!(open, Ok(vec![held]), "one is held, one is done");
    let open = catalog.open_work("train").await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].work, training);
}

async fn work_that_is_offered_again_is_nobodys(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (new, free, held, done) = (freezing(), freezing(), freezing(), freezing());
    for work in [&free, &held, &done] {
        catalog.offer_work(work).await.unwrap();
    }
    // Its first holder died.
    acquire(&*catalog, &held, "a").await;
    let holder = acquire(&*catalog, &held, "b").await;
    assert_eq!(holder.failures, 1);
    let ended = acquire(&*catalog, &done, "a").await;
    assert_eq!(catalog.finish_work(&ended).await, Ok(true));

    for work in [&new, &free, &held, &done] {
        catalog.offer_work_again(work).await.unwrap();
        let lease = lease_on(&*catalog, work).await;
        assert_eq!((lease.owner, lease.failures), (None, 0));
    }
    assert_eq!(catalog.renew_lease(&holder).await, Ok(None), "it lost it");
    assert_eq!(catalog.finish_work(&holder).await, Ok(false));
    catalog.release_lease(&holder).await.unwrap();
    let next = acquire(&*catalog, &held, "c").await;
    assert_eq!(next.failures, 0, "nobody died at it");
    assert_eq!(catalog.finish_work(&holder).await, Ok(false));
    assert_eq!(catalog.finish_work(&next).await, Ok(true));
    let open = catalog.open_work("freeze").await.unwrap();
    assert_eq!(open.len(), 3, "each once: {open:?}");
}

async fn of_many_who_acquire_a_lease_one_wins(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
    let work = freezing();
    one.offer_work(&work).await.unwrap();
    let seen = lease_on(&*one, &work).await;
    let takers = (0..20).map(|number| {
        let catalog = if number % 2 == 0 { &one } else { &other };
        let (catalog, seen) = (catalog.clone(), seen.clone());
        tokio::spawn(async move {
            catalog
                .acquire_lease(&seen, &format!("{number}"))
                .await
                .unwrap()
        })
    });
    let outcomes = join_all(takers).await;
    let taken: Vec<Lease> = outcomes.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(one.open_work("freeze").await, Ok(taken));
}

async fn a_lease_is_exchanged_only_as_it_was_seen(environment: &Environment) {
    let catalog = environment.catalog().await;
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    let free = lease_on(&*catalog, &work).await;
    let first = catalog.acquire_lease(&free, "a").await.unwrap().unwrap();
    assert_eq!(first.owner.as_deref(), Some("a"));
    assert_eq!(
        catalog.acquire_lease(&free, "b").await,
        Ok(None),
        "taken by now"
    );

    let second = catalog.renew_lease(&first).await.unwrap().unwrap();
    assert_eq!(second.owner, first.owner);
    assert!(second.beat > first.beat);
    assert_eq!(catalog.renew_lease(&first).await, Ok(None), "an old beat");
    assert_eq!(
        catalog.acquire_lease(&first, "b").await,
        Ok(None),
        "it lives"
    );
    catalog.release_lease(&first).await.unwrap();
    assert_eq!(lease_on(&*catalog, &work).await, second, "an old beat");

    let third = catalog.acquire_lease(&second, "b").await.unwrap().unwrap();
    assert_eq!(catalog.renew_lease(&second).await, Ok(None), "taken over");
    catalog.release_lease(&second).await.unwrap();
    assert_eq!(lease_on(&*catalog, &work).await, third);

    catalog.release_lease(&third).await.unwrap();
    let free = lease_on(&*catalog, &work).await;
    assert_eq!(free.owner, None);
    let fourth = catalog.acquire_lease(&free, "a").await.unwrap().unwrap();
    assert_eq!(catalog.finish_work(&third).await, Ok(false), "an old beat");
    assert_eq!(catalog.finish_work(&fourth).await, Ok(true));
    assert_eq!(catalog.renew_lease(&fourth).await, Ok(None), "done");
    assert_eq!(catalog.acquire_lease(&fourth, "b").await, Ok(None), "done");
    assert_eq!(catalog.open_work("freeze").await, Ok(vec![]));
}

async fn free_work_is_claimed_and_finished(environment: &Environment) {
    let catalog = environment.catalog().await;
    let watch = LeaseWatch::new(catalog.clone());
    let none = watch.claim_any("freeze", "a").await.unwrap();
    assert!(none.is_none(), "nothing was offered");
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    let held = watch.claim_any("freeze", "a").await.unwrap();
    let held = held.expect("it is free");
    assert_eq!(held.work(), &work);
    assert!(!held.lost_token().is_cancelled());
    let another = LeaseWatch::new(catalog.clone());
    let none = another.claim_any("freeze", "b").await.unwrap();
    assert!(none.is_none(), "it is held");
    held.finish().await.unwrap();
    assert_eq!(catalog.open_work("freeze").await, Ok(vec![]));
}

async fn released_and_dropped_work_is_free_again(environment: &Environment) {
    let catalog = environment.catalog().await;
    let watch = LeaseWatch::new(catalog.clone());
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    let held = watch.claim_any("freeze", "a").await.unwrap();
    held.expect("it is free").release().await.unwrap();
    assert_eq!(lease_on(&*catalog, &work).await.owner, None);

    let held = watch.claim_any("freeze", "b").await.unwrap();
    drop(held.expect("it was given back"));
    until(async || lease_on(&*catalog, &work).await.owner.is_none()).await;
}

async fn a_living_holder_keeps_its_work(environment: &Environment) {
    let catalog = environment.catalog().await;
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    // It is renewed every 100 ms, and the watch waits for a minute.
    let holder = LeaseWatch::lasting(catalog.clone(), Duration::from_millis(300));
    let held = holder.claim_any("freeze", "a").await.unwrap();
    let held = held.expect("it is free");
    let beat = async || lease_on(&*catalog, &work).await.beat;
    let first = beat().await;
    until(async || beat().await >= first + 3).await;
    let watch = LeaseWatch::lasting(catalog.clone(), Duration::from_secs(60));
    for _ in 0..10 {
        let seen = lease_on(&*catalog, &work).await;
        assert_eq!(seen.owner.as_deref(), Some("a"));
        assert!(watch.claim(&seen, "b").await.unwrap().is_none());
    }
    assert!(!held.lost_token().is_cancelled());
    held.finish().await.unwrap();
}

async fn progress_does_not_delay_renewals(environment: &Environment) {
    let catalog = environment.catalog().await;
    // It is renewed every 500 ms.
    let holder = LeaseWatch::lasting(catalog.clone(), Duration::from_millis(1_500));
    let hold = async || {
        catalog.offer_work(&freezing()).await.unwrap();
        let held = holder.claim_any("freeze", "a").await.unwrap();
        held.expect("one is free")
    };
    let (busy, still) = (hold().await, hold().await);
    let progress = busy.progress();
    let coming_on = tokio::spawn(async move {
        loop {
            progress.made();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let beat = async |held: &HeldLease| lease_on(&*catalog, held.work()).await.beat;
    let (of_busy, of_still) = (beat(&busy).await, beat(&still).await);
    until(async || beat(&still).await >= of_still + 6).await;
    let beats = beat(&busy).await - of_busy;
    assert!(beats >= 4, "{beats} beats in the time of six");
    coming_on.abort();
    for held in [busy, still] {
        held.finish().await.unwrap();
    }
}

async fn a_dead_lease_is_taken_over_and_its_holder_notices(environment: &Environment) {
    let catalog = environment.catalog().await;
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    // It is renewed every second, and the hasty watch waits for 10 ms.
    let slow = LeaseWatch::lasting(catalog.clone(), Duration::from_secs(3));
    let held = slow.claim_any("freeze", "slow").await.unwrap();
    let held = held.expect("it is free");
    let hasty = LeaseWatch::lasting(catalog.clone(), Duration::from_millis(10));
    until(async || {
        let taken = hasty.claim_any("freeze", "hasty").await;
        taken.unwrap().is_some()
    })
    .await;
    held.lost().await;
    let refused = held.finish().await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    let open = catalog.open_work("freeze").await.unwrap();
    assert_eq!(open.len(), 1, "the loser can't end it");
    assert_ne!(open[0].owner.as_deref(), Some("slow"));
}

async fn deaths_and_failures_are_counted_until_the_next_progress(environment: &Environment) {
    let catalog = environment.catalog().await;
    let work = Work::Train(run(1).id);
    catalog.offer_work(&work).await.unwrap();
    let failures = async || lease_on(&*catalog, &work).await.failures;
    let claim = async || {
        let claimed = LeaseWatch::new(catalog.clone())
            .claim_any("train", "a")
            .await;
        claimed.unwrap().expect("it is free")
    };
    let first = acquire(&*catalog, &work, "one").await;
    assert_eq!(first.failures, 0);
    let first = acquire(&*catalog, &work, "one").await;
    assert_eq!(first.failures, 0, "it was cut off, and has it back");
    let second = acquire(&*catalog, &work, "two").await;
    assert_eq!(second.failures, 1, "one died");
    let third = acquire(&*catalog, &work, "three").await;
    assert_eq!(third.failures, 2, "two died");
    catalog.release_lease(&third).await.unwrap();
    assert_eq!(failures().await, 2, "giving it back is no failure");

    let held = claim().await;
    assert_eq!(held.failures(), 2);
    held.fail().await.unwrap();
    assert_eq!(failures().await, 3);

    let held = claim().await;
    held.progress().made();
    assert_eq!(held.failures(), 0);
    until(async || failures().await == 0).await;
    held.fail().await.unwrap();
    assert_eq!(failures().await, 1, "the first since it came on");
}

/// Waits until the condition is true, for as long as a slow machine may need.
async fn until(mut is_true: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_true().await {
            tokio::task::yield_now().await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(60), asking).await;
    asked.expect("it came true within a minute");
}
