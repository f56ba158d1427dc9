//! A source that is larger than what a scraper may take of memory, and that is stopped
//! in the middle.

use std::{collections::HashSet, time::Duration};

use maskline_messages::{CandidateId, Queue};
use maskline_runtime::broker::Consumer;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::{
    Report,
    watch::memory,
    web::{Pictures, Web},
};
use crate::{place::Place, process::Process};

/// Megabytes that the scraper may take.
const MOST_MEMORY: f64 = 150.0;
/// Messages that a queue may hold.
const LIMIT: u64 = 20_000;
/// Candidates of a step, which goes into a queue as a whole.
const STEP: u64 = 1_000;
/// What the scraper sends is taken in such heaps.
const PREFETCH: u16 = 500;
/// Between two looks at the scraper and the queues.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Nothing comes for so long: nothing more will.
const SILENCE: Duration = Duration::from_secs(60);

/// A list of `count` URLs behind which there is nothing, so that each is found, asked for
/// and rejected. The scraper is asked to stop after a third, and killed after two.
pub async fn run(report: &mut Report, count: u64) {
    let mut place = Place::servers().await;
    let catalog = place.folder().join("catalog.db");
    place.keep_catalog_in(&catalog);
    place.limit_queues(LIMIT);
    let web = Web::serve(Pictures::Missing).await;
    let (stores, broker) = (place.stores().await, place.broker().await);
    let mut scraper = Process::start(&place, "scraper").await;
    let job = place
        .enqueue(&["urls", &web.list(count), "--label-from", "column"])
        .await;
    let mut rejections = Taken::from(broker.consume(Queue::StorerImages, PREFETCH).await);
    let mut peaks = vec![];
    let (mut most_waiting, mut looked, mut said) = (0, Instant::now(), Instant::now());
    while (rejections.candidates.len() as u64) < count && rejections.take().await {
        let taken = rejections.candidates.len() as u64;
        if looked.elapsed() > LOOK_EVERY {
            looked = Instant::now();
            let depths = broker.depths().await.expect("the depths");
            let waiting = depths.get(Queue::ScraperCandidates.name());
            let waiting = waiting.map(|depth| depth.ready).unwrap_or_default();
            most_waiting = most_waiting.max(waiting);
            if said.elapsed() > SAY_EVERY {
                said = Instant::now();
                report.say(format_args!(
                    "{taken} of {count} rejected, {waiting} wait; {:.1?} MB",
                    memory(&scraper)
                ));
            }
        }
        if peaks.is_empty() && taken > count / 3 {
            peaks.push(memory(&scraper).peak);
            let end = scraper.stop().await;
            report.must(
                end.success(),
                format_args!("asked to stop at {taken}: {end}"),
            );
            scraper = Process::start(&place, "scraper").await;
        }
        if peaks.len() == 1 && taken > 2 * (count / 3) {
            peaks.push(memory(&scraper).peak);
            scraper.kill().await;
            report.say(format_args!("killed at {taken}"));
            scraper = Process::start(&place, "scraper").await;
        }
    }
    peaks.push(memory(&scraper).peak);
    let mut ended = Taken::from(broker.consume(Queue::StorerJobs, 1).await);
    report.must(ended.take().await, "the end of the expansion was announced");
    let books = stores.catalog.counts(job).await.expect("the books");
    let taken = rejections.candidates.len() as u64;
    report.must(
        books.found == count && taken == count,
        format_args!(
            "{count} lines, {} candidates in the catalog, {taken} rejected; {} messages came again",
            books.found, rejections.again
        ),
    );
    report.must(
        peaks.iter().all(|peak| *peak <= MOST_MEMORY),
        format_args!("peaks of the three scrapers: {peaks:.1?} MB"),
    );
    report.must(
        most_waiting <= LIMIT + STEP,
        format_args!("limit {LIMIT}, at most {most_waiting} candidates waited"),
    );
    let end = scraper.stop().await;
    report.must(end.success(), format_args!("the scraper ended with {end}"));
    broker.close().await;
    place.remove().await;
}

/// What is taken from a queue in a stage's stead.
struct Taken {
    consumer: Box<dyn Consumer>,
    candidates: HashSet<CandidateId>,
    /// Messages about a candidate that had one already.
    again: u64,
}

impl<E: std::fmt::Debug> From<Result<Box<dyn Consumer>, E>> for Taken {
    fn from(consumer: Result<Box<dyn Consumer>, E>) -> Self {
        Self {
            consumer: consumer.expect("the queue is there"),
            candidates: HashSet::new(),
            again: 0,
        }
    }
}

impl Taken {
    /// Takes one message. `false`: none comes.
    async fn take(&mut self) -> bool {
        #[derive(Deserialize)]
        struct About {
            candidate: Option<CandidateId>,
        }
        let Ok(Some(delivery)) = timeout(SILENCE, self.consumer.next()).await else {
            return false;
        };
        let about: About = serde_json::from_slice(&delivery.envelope.body).expect("a message");
        if let Some(candidate) = about.candidate {
            self.again += u64::from(!self.candidates.insert(candidate));
        }
        delivery.settle.ack().await.expect("it is ours");
        true
    }
}
