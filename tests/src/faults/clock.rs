//! Replicas whose clock is ten minutes off.
//!
//! A process judges a lease by its heartbeat and by its own monotonic clock. A wrong time
//! of day must therefore neither steal a lease nor keep it for ever. The library libfaketime
//! answers in place of the system when a process asks for the time.

use std::{path::Path, time::Duration};

use maskline_storage::{lease::TIME_TO_LIVE, records::Lease};
use maskline_test_support::{environment::Environment, wait::within};
use tokio::time::{Instant, sleep};

use super::{
    checks::check_and_remove,
    job_under_test::{JobUnderTest, until},
    replicas::Replicas,
    trial::Trial,
};
use crate::process::Pipeline;

/// The paths at which Debian installs the library.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// How long a lease is watched. A waiter that judged it by the time of day would steal it
/// within this time.
const WATCHED: Duration = TIME_TO_LIVE.saturating_mul(2);

/// The number of epochs. It is so large that the run lasts longer than [`WATCHED`] on every
/// machine that is likely to run this.
const EPOCHS: &str = "150";

type Variables = Vec<(String, String)>;

/// The clock of the lease's holder is wrong, or that of the replica that waits for it.
pub async fn off(trial: &mut Trial) {
    let mut libraries = LIBRARIES.iter().copied();
    let Some(library) = libraries.find(|path| Path::new(path).exists()) else {
        return trial.skip("libfaketime is missing (Debian: sudo apt-get install faketime)");
    };
    for (holder, waiter) in [("+10m", "+0"), ("+0", "-10m"), ("-10m", "+0")]
        .into_iter()
        .cycle()
        .take(trial.amount.faults as usize)
    {
        one_job(trial, shifted(library, holder), shifted(library, waiter)).await;
        trial.record_fault(format_args!(
            "the holder's clock at {holder}, the waiter's at {waiter}"
        ));
    }
}

/// The variables that shift a process's clock.
fn shifted(library: &str, shift: &str) -> Variables {
    let variables = [
        ("LD_PRELOAD", library),
        ("FAKETIME", shift),
        // The monotonic clock is right even where the time of day is wrong.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// The lease of a training run must stay with its holder while the holder lives. When the
/// holder has died, the waiter must get it.
async fn one_job(trial: &mut Trial, holder: Variables, waiter: Variables) {
    let environment = Environment::servers().await;
    let mut replicas = Replicas::start(&environment, &Pipeline::STAGES).await;
    replicas.add(&environment, "storer", holder.clone()).await;
    replicas.add(&environment, "trainer", holder).await;
    let network = ["--train", "mobilenet_v3_small", "--pixels", "64"];
    let settings = ["--batch", "16", "--epochs", EPOCHS];
    let args = [network, settings].concat();
    let mut job = JobUnderTest::enqueue_with(trial, environment, replicas, &args).await;
    let first = within("a trainer that acquires the lease", owner(&job)).await;
    job.replicas.add(&job.environment, "trainer", waiter).await;

    let since = Instant::now();
    while since.elapsed() < WATCHED {
        let Some(lease) = lease(&job).await else {
            trial.record_problem("the run ended before its lease was watched long enough");
            return check_and_remove(job, trial).await;
        };
        if lease.owner.as_ref() != Some(&first) {
            trial.record_problem(format_args!(
                "the lease of a living holder was stolen: {lease:?}"
            ));
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let mut replicas = job.replicas.all.iter();
    let holder = replicas.position(|replica| replica.service == "trainer");
    let holder = holder.expect("the holder was the first trainer");
    job.replicas.kill_and_remove(holder).await;
    let is_taken_over = async || match lease(&job).await {
        Some(lease) => lease.owner.is_some_and(|owner| owner != first),
        None => true,
    };
    if !until(is_taken_over).await {
        trial.record_problem("the lease of a dead holder is kept for ever");
    }
    check_and_remove(job, trial).await;
}

/// The lease of the only training run, while the run is open.
async fn lease(job: &JobUnderTest) -> Option<Lease> {
    let work = job.stores.catalog.open_work("train").await;
    work.expect("the catalog answers").pop()
}

/// Waits until the lease has an owner.
async fn owner(job: &JobUnderTest) -> String {
    loop {
        if let Some(owner) = lease(job).await.and_then(|lease| lease.owner) {
            return owner;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
