//! Quotas: limits that all processes keep together.

use std::{num::NonZeroU32, time::Duration};

use futures::future::join_all;
use maskline_storage::{
    Catalog,
    records::{Quota, Share, ShareLimit, ShareRequest, Turn, now},
};

use crate::environment::Environment;

contract! {
    a_quota_is_granted_up_to_each_of_its_windows,
    of_many_who_ask_at_once_no_more_are_granted_than_allowed,
    keys_do_not_know_of_each_other,
    a_key_that_is_held_off_is_so_for_everybody,
    a_state_from_the_future_blocks_nobody,
    what_was_granted_outlives_the_connection,
    new_keys_take_the_place_of_long_idle_ones,
    processes_share_places_and_turns,
    a_site_that_is_held_off_gives_nobody_a_turn,
}

/// A time in 2026.
const NOW: u64 = 1_795_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn at_most(most: u32, length: Duration) -> Quota {
    Quota::default().at_most(NonZeroU32::new(most).unwrap(), length)
}

async fn take(catalog: &dyn Catalog, quota: &Quota, now: u64) -> Turn {
    catalog.take_turn("search/here", quota, now).await.unwrap()
}

async fn a_quota_is_granted_up_to_each_of_its_windows(environment: &Environment) {
    let catalog = environment.catalog().await;
    let quota = at_most(3, MINUTE)
        .at_most(NonZeroU32::new(5).unwrap(), DAY)
        .with_interval(Duration::from_secs(1));
    let mut turns = vec![];
    let mut time = NOW;
    while turns.len() < 5 {
        match take(&*catalog, &quota, time).await {
            Turn::Granted => turns.push(time - NOW),
            Turn::Wait(wait) => time += wait.as_millis() as u64,
        }
    }
    assert_eq!(turns, [0, 1_000, 2_000, 60_000, 61_000]);
    let refused = take(&*catalog, &quota, time).await;
    let Turn::Wait(wait) = refused else {
        panic!("a sixth on one day");
    };
    assert!((DAY - 2 * MINUTE..=DAY).contains(&wait), "{wait:?}");
    let again = take(&*catalog, &quota, time).await;
    assert_eq!(again, refused, "asking costs nothing");
}

async fn of_many_who_ask_at_once_no_more_are_granted_than_allowed(environment: &Environment) {
    let catalogs = join_all((0..4).map(|_| environment.catalog())).await;
    let quota = at_most(20, DAY);
    let asking = (0..40).map(|number| {
        let (catalog, quota) = (catalogs[number % 4].clone(), quota.clone());
        tokio::spawn(async move {
            let mut granted = 0;
            // Whoever is told to wait for less than the window was not refused, but crowded out.
            for _ in 0..1_000 {
                match take(&*catalog, &quota, now()).await {
                    Turn::Granted => granted += 1,
                    Turn::Wait(wait) if wait < MINUTE => tokio::time::sleep(wait).await,
                    Turn::Wait(_) => return granted,
                }
            }
            panic!("it was never refused");
        })
    });
    let granted: u32 = join_all(asking).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(granted, 20);
}

async fn keys_do_not_know_of_each_other(environment: &Environment) {
    let catalog = environment.catalog().await;
    let once = at_most(1, MINUTE);
    for key in ["site/a.example", "site/b.example", "search/a.example"] {
        let turn = catalog.take_turn(key, &once, NOW).await;
        assert_eq!(turn, Ok(Turn::Granted), "{key}");
        let turn = catalog.take_turn(key, &once, NOW).await;
        assert_eq!(turn, Ok(Turn::Wait(MINUTE)), "{key}");
    }
}

async fn a_key_that_is_held_off_is_so_for_everybody(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
    let unlimited = Quota::default();
    assert_eq!(take(&*other, &unlimited, NOW).await, Turn::Granted);
    let pause = Duration::from_secs(30);
    for pause in [pause, Duration::from_secs(1)] {
        one.hold_off("search/here", pause, NOW).await.unwrap();
    }
    assert_eq!(take(&*other, &unlimited, NOW).await, Turn::Wait(pause));
    assert_eq!(take(&*other, &unlimited, NOW + 30_000).await, Turn::Granted);
}

async fn a_state_from_the_future_blocks_nobody(environment: &Environment) {
    let catalog = environment.catalog().await;
    let quota = at_most(1, MINUTE);
    let next_year = NOW + 365 * DAY.as_millis() as u64;
    assert_eq!(take(&*catalog, &quota, next_year).await, Turn::Granted);
    let held_off = catalog.hold_off("search/here", 7 * DAY, next_year).await;
    held_off.unwrap();
    assert_eq!(take(&*catalog, &quota, NOW).await, Turn::Wait(DAY));
    let tomorrow = NOW + DAY.as_millis() as u64;
    assert_eq!(take(&*catalog, &quota, tomorrow).await, Turn::Granted);
}

async fn what_was_granted_outlives_the_connection(environment: &Environment) {
    let quota = at_most(1, MINUTE);
    let catalog = environment.catalog().await;
    assert_eq!(take(&*catalog, &quota, NOW).await, Turn::Granted);
    drop(catalog);
    let reopened = environment.catalog().await;
    assert_eq!(take(&*reopened, &quota, NOW).await, Turn::Wait(MINUTE));
}

async fn new_keys_take_the_place_of_long_idle_ones(environment: &Environment) {
    let catalog = environment.catalog().await;
    let quota = at_most(1, DAY);
    assert_eq!(take(&*catalog, &quota, NOW).await, Turn::Granted);
    let after = |days: u64| NOW + days * DAY.as_millis() as u64;
    // Within a day of the window's end it is kept: the caller's clock may be wrong.
    for (days, expected) in [(1, Turn::Wait(DAY)), (3, Turn::Granted)] {
        let other = format!("site/{days}");
        let turn = catalog.take_turn(&other, &quota, after(days)).await;
        assert_eq!(turn, Ok(Turn::Granted));
        assert_eq!(take(&*catalog, &quota, NOW).await, expected, "day {days}");
    }
}

/// A site that may be asked two things at a time, ten times a second.
const SITE: ShareLimit = ShareLimit {
    at_a_time: 2,
    interval: Duration::from_millis(100),
};

/// Asks for two places and so many turns.
async fn share(catalog: &dyn Catalog, key: &str, process: usize, turns: u32, now: u64) -> Share {
    let request = ShareRequest {
        process: format!("process {process}"),
        in_hand: 0,
        places: 2,
        turns,
        away: 0,
    };
    catalog.share(key, &SITE, &request, now).await.unwrap()
}

async fn processes_share_places_and_turns(environment: &Environment) {
    let catalogs = join_all((0..4).map(|_| environment.catalog())).await;
    let asking = (0..40).map(|number| {
        let catalog = catalogs[number % 4].clone();
        tokio::spawn(async move {
            let share = share(&*catalog, "site/here", number % 4, 1, NOW).await;
            (share.turns > 0).then_some(share.first)
        })
    });
    let given = join_all(asking).await.into_iter().map(Result::unwrap);
    let mut turns: Vec<_> = given.flatten().collect();
    turns.sort();
    // Of those who were crowded out some have none. What was given lies within a second.
    assert!((2..=11).contains(&turns.len()), "{turns:?}");
    let apart = |pair: &[Duration]| pair[1] - pair[0] >= SITE.interval;
    assert!(turns.windows(2).all(apart), "{turns:?}");

    let mut places = 0;
    for (process, catalog) in catalogs.iter().enumerate() {
        places += share(&**catalog, "site/there", process, 0, NOW)
            .await
            .places;
    }
    assert_eq!(places, 2);
    // Those who have them were killed.
    let later = share(&*catalogs[3], "site/there", 9, 0, NOW + 60_000).await;
    assert_eq!(later.places, 2);
}

async fn a_site_that_is_held_off_gives_nobody_a_turn(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
    assert_eq!(share(&*one, "site/busy", 1, 1, NOW).await.turns, 1);
    let pause = Duration::from_secs(30);
    one.hold_off("site/busy", pause, NOW).await.unwrap();
    let held_off = share(&*other, "site/busy", 2, 1, NOW).await;
    assert_eq!((held_off.turns, held_off.first), (0, pause));
    let later = share(&*other, "site/busy", 2, 1, NOW + 30_000).await;
    assert_eq!(later.turns, 1);
}
