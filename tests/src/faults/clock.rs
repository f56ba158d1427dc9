//! Replicas whose clock is ten minutes off.
//!
//! A lease is judged by its beat and by each process's own monotonic clock, so that a
//! wrong time must neither steal one nor keep it for ever. The time is turned by
//! libfaketime, which answers in the system's stead.

use std::{path::Path, time::Duration};

use maskline_storage::{lease::TIME_TO_LIVE, records::Lease};
use tokio::time::{Instant, sleep};

use super::{Trial, crew::Crew, round::Round, round::until};
use crate::{place::Place, process::Pipeline, within};

/// Where Debian puts it.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// Long enough for a lease to be stolen, were it judged by the time.
const WATCHED: Duration = TIME_TO_LIVE.saturating_mul(2);

/// So many epochs last longer than that, on any machine that this is likely to run on.
const EPOCHS: &str = "150";

pub async fn off(trial: &mut Trial) {
    let mut libraries = LIBRARIES.iter().copied();
    let Some(library) = libraries.find(|path| Path::new(path).exists()) else {
        return trial.skip("libfaketime is missing (Debian: sudo apt-get install faketime)");
    };
    // In turn it is who holds the lease, and who waits for it.
    for (holder, waiter) in [("+10m", "+0"), ("+0", "-10m"), ("-10m", "+0")]
        .into_iter()
        .cycle()
        .take(trial.dose.faults as usize)
    {
        one(trial, clock(library, holder), clock(library, waiter)).await;
        trial.struck(format_args!(
            "the holder's clock at {holder}, that of who waits at {waiter}"
        ));
    }
}

fn clock(library: &str, shift: &str) -> Vec<(String, String)> {
    let variables = [
        ("LD_PRELOAD", library),
        ("FAKETIME", shift),
        // The monotonic clock is right on a machine whose time is wrong.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

type Variables = Vec<(String, String)>;

/// The lease of a training run stays with its holder while that lives, and goes to the
/// other when it has died.
async fn one(trial: &mut Trial, holder: Variables, waiter: Variables) {
    let place = Place::servers().await;
    let mut crew = Crew::start(&place, &Pipeline::STAGES).await;
    crew.join(&place, "storer", holder.clone()).await;
    crew.join(&place, "trainer", holder).await;
    let network = ["--train", "mobilenet_v3_small", "--pixels", "64"];
    let course = ["--batch", "16", "--epochs", EPOCHS];
    let further = [network, course].concat();
    let mut round = Round::begin_with(trial, place, crew, &further).await;
    let first = within("a trainer that takes the run", owner(&round)).await;
    round.crew.join(&round.place, "trainer", waiter).await;

    let since = Instant::now();
    while since.elapsed() < WATCHED {
        let Some(lease) = lease(&round).await else {
            trial.problem("the run has ended before its lease was watched enough");
            return round.end(trial).await;
        };
        if lease.owner.as_ref() != Some(&first) {
            trial.problem(format_args!(
                "the lease of one that lives was stolen: {lease:?}"
            ));
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let trainers = round.crew.members.iter();
    let holder = trainers
        .enumerate()
        .find(|(_, one)| one.service == "trainer");
    let (index, _) = holder.expect("it was the first to join");
    round.crew.lose(index).await;
    let goes_on = async || match lease(&round).await {
        Some(lease) => lease.owner.is_some_and(|owner| owner != first),
        None => true,
    };
    if !until(goes_on).await {
        trial.problem("the lease of one that has died is kept for ever");
    }
    round.end(trial).await;
}

/// That of the one run, while it is to be done.
async fn lease(round: &Round) -> Option<Lease> {
    let work = round.stores.catalog.open_work("train").await;
    work.expect("the catalog answers").pop()
}

async fn owner(round: &Round) -> String {
    loop {
        if let Some(owner) = lease(round).await.and_then(|lease| lease.owner) {
            return owner;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
