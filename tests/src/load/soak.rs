//! A long job: what each service takes of memory, and whether it gets slower.

use std::time::{Duration, Instant};

use futures::future::join_all;
use maskline_runtime::broker::Depth;
use tokio::time::sleep;

use super::{
    Report,
    watch::memory,
    web::{Pictures, Web},
};
use crate::{faults::crew::FIVE, place::Place, process::Process};

/// After so many candidates every service has all that it will ever need.
const WARM: u64 = 10_000;
/// Megabytes that a service but the trainer may take.
const MOST_MEMORY: f64 = 150.0;
/// Megabytes that a peak may grow after the first [`WARM`].
const GROWTH: f64 = 15.0;
/// The last tenth's candidates a second, of the first's.
const LAST_TO_FIRST: f64 = 0.9;
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So often is said how far it is.
const SAY_EVERY: u32 = 30;

/// A job of `count` drawn pictures by a list of URLs.
pub async fn run(report: &mut Report, count: u64) {
    let place = Place::servers().await;
    let services = join_all(FIVE.iter().map(|name| Process::start(&place, name))).await;
    let web = Web::serve(Pictures::Drawn).await;
    let (stores, broker) = (place.stores().await, place.broker().await);
    let began = Instant::now();
    let job = place
        .enqueue(&["urls", &web.list(count), "--label-from", "column"])
        .await;
    report.say(format_args!("job {job} of {count} candidates"));

    let warm = WARM.min(count / 10);
    let tenth = |n: u64| n * count / 10;
    let (mut warm_peaks, mut marks, mut deepest) = (None, vec![(0, 0.0)], 0);
    for look in 0_u32.. {
        sleep(LOOK_EVERY).await;
        let books = stores.catalog.counts(job).await.expect("the books");
        let ended = books.found - books.in_flight;
        let waiting = broker.depths().await.expect("the depths");
        let waiting = waiting.values().map(|Depth { ready, .. }| *ready).max();
        deepest = deepest.max(waiting.unwrap_or_default());
        marks.push((ended, began.elapsed().as_secs_f64()));
        let peaks: Vec<f64> = services.iter().map(|one| memory(one).peak).collect();
        if look % SAY_EVERY == 0 {
            let now: Vec<f64> = services.iter().map(|one| memory(one).now).collect();
            report.say(format_args!(
                "{ended} of {} ended; {now:.1?} MB; {deepest} in the deepest queue so far",
                books.found
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
    // The first tenth begins with nothing in the later stages, the second does not.
    let (first, last) = (rate(0, 1).max(rate(1, 2)), rate(9, 10));
    report.say(format_args!(
        "{:.1} candidates a second over all",
        count as f64 / ended_after(&marks, count)
    ));
    report.must(
        last >= LAST_TO_FIRST * first,
        format_args!(
            "last tenth {last:.1}/s, the faster of the first two {first:.1}/s: {:.2}",
            last / first
        ),
    );
    report.say(format_args!("{deepest} messages in the deepest queue"));
    let ended = place.ended(job).await;
    let books = stores.catalog.counts(job).await.expect("the books");
    report.must(
        ended["state"] == "frozen" && books.stored == count,
        format_args!("state {}, {books:?}", ended["state"]),
    );
    for (process, at_first) in services.iter().zip(warm_peaks.unwrap_or_default()) {
        let peak = memory(process).peak;
        report.must(
            peak <= MOST_MEMORY && peak <= at_first + GROWTH,
            format_args!(
                "{}: peak {at_first:.1} MB after {warm}, {peak:.1} MB in the end, dataset frozen",
                process.name()
            ),
        );
    }
    for mut process in services {
        let end = process.stop().await;
        report.must(
            end.success(),
            format_args!("{} ended with {end}", process.name()),
        );
    }
    broker.close().await;
    place.remove().await;
}

/// That so many candidates had ended after so many seconds.
type Mark = (u64, f64);

/// The seconds after which so many candidates had ended; between two marks they end
/// evenly.
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
