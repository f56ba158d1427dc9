//! A long job: how much memory each service needs, and whether the job gets slower.

use std::time::{Duration, Instant};

use futures::future::join_all;
use maskline_runtime::broker::Depth;
use maskline_test_support::environment::Environment;
use tokio::time::sleep;

use super::{
    generated_site::{GeneratedSite, Pictures},
    memory::memory,
    report::Report,
    sources,
};
use crate::process::{Process, SERVICES};

/// After this many candidates every service has all the memory that it will ever need.
const WARM: u64 = 10_000;
/// How many megabytes of memory a service may use.
const MEMORY_LIMIT: f64 = 150.0;
/// By how many megabytes a peak may grow after the first [`WARM`] candidates.
const GROWTH: f64 = 15.0;
/// The smallest ratio of the last tenth's candidates per second to the first tenth's.
const LAST_TO_FIRST: f64 = 0.9;
/// The pause between two readings of the counts and of the memory.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The progress is logged after this many polls.
const LOG_EVERY: u32 = 30;

/// Runs `count` drawn pictures, from several lists of URLs, into one collection.
pub async fn run(report: &mut Report, count: u64) {
    let environment = Environment::servers().await;
    let services = join_all(
        SERVICES
            .iter()
            .map(|name| Process::start(&environment, name)),
    )
    .await;
    let site = GeneratedSite::serve(Pictures::Drawn).await;
    let (stores, broker) = (environment.stores().await, environment.broker().await);
    let began = Instant::now();
    let jobs = sources::enqueue(&environment, &site, count).await;
    report.log(format_args!("{count} candidates, jobs {jobs:?}"));

    let warm = WARM.min(count / 10);
    let tenth = |n: u64| n * count / 10;
    let (mut warm_peaks, mut marks, mut deepest) = (None, vec![(0, 0.0)], 0);
    for poll in 0_u32.. {
        sleep(POLL_INTERVAL).await;
        let counts = sources::counts(&*stores.catalog, &jobs).await;
        let ended = counts.found - counts.in_flight;
        let waiting = broker.depths().await.expect("the depths");
        let waiting = waiting.values().map(|Depth { ready, .. }| *ready).max();
        deepest = deepest.max(waiting.unwrap_or_default());
        marks.push((ended, began.elapsed().as_secs_f64()));
        let peaks: Vec<f64> = services.iter().map(|one| memory(one).peak).collect();
        if poll % LOG_EVERY == 0 {
            let now: Vec<f64> = services.iter().map(|one| memory(one).now).collect();
            report.log(format_args!(
                "{ended} of {} ended; {now:.1?} MB; {deepest} in the deepest queue so far",
                counts.found
            ));
        }
        if ended >= warm && warm_peaks.is_none() {
            warm_peaks = Some(peaks);
        }
        if ended >= count {
            break;
        }
    }
    let rate = |from: u64, to: u64| {
        let seconds = ended_after(&marks, tenth(to)) - ended_after(&marks, tenth(from));
        (tenth(to) - tenth(from)) as f64 / seconds
    };
    // The later stages are idle at first, so that the second tenth may be faster.
    let (first, last) = (rate(0, 1).max(rate(1, 2)), rate(9, 10));
    report.log(format_args!(
        "{:.1} candidates a second over all",
        count as f64 / ended_after(&marks, count)
    ));
    report.check(
        last >= LAST_TO_FIRST * first,
        format_args!(
            "last tenth {last:.1}/s, the faster of the first two {first:.1}/s: {:.2}",
            last / first
        ),
    );
    report.log(format_args!("{deepest} messages in the deepest queue"));
    let ended = environment.ended(jobs[jobs.len() - 1]).await;
    let counts = sources::counts(&*stores.catalog, &jobs).await;
    report.check(
        ended["state"] == "frozen" && counts.stored == count,
        format_args!("state {}, {counts:?}", ended["state"]),
    );
    for (process, at_first) in services.iter().zip(warm_peaks.unwrap_or_default()) {
        let peak = memory(process).peak;
        report.check(
            peak <= MEMORY_LIMIT && peak <= at_first + GROWTH,
            format_args!(
                "{}: peak {at_first:.1} MB after {warm}, {peak:.1} MB in the end, dataset frozen",
                process.name()
            ),
        );
    }
    for mut process in services {
        let end = process.stop().await;
        report.check(
            end.success(),
            format_args!("{} ended with {end}", process.name()),
        );
    }
    broker.close().await;
    environment.remove().await;
}

/// How many candidates had ended, and after how many seconds.
type Mark = (u64, f64);

/// The seconds after which `wanted` candidates had ended. It is interpolated between two
/// marks.
fn ended_after(marks: &[Mark], wanted: u64) -> f64 {
    let Some(at) = marks.iter().position(|(ended, _)| *ended >= wanted) else {
        return f64::INFINITY;
    };
    let (ended, seconds) = marks[at];
    let Some(&(before, since)) = at.checked_sub(1).and_then(|at| marks.get(at)) else {
        return seconds;
    };
    let part = (wanted - before) as f64 / (ended - before) as f64;
    since + part * (seconds - since)
}
