//! Lists of URLs that are larger than the memory that a scraper may use, as several sources of one
//! collection. The scraper is stopped and killed in the middle.

use std::{collections::HashSet, time::Duration};

use maskline_messages::{CandidateId, Queue};
use maskline_runtime::broker::Consumer;
use maskline_test_support::environment::Environment;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::{
    generated_site::{GeneratedSite, Pictures},
    memory::memory,
    report::Report,
    sources,
};
use crate::process::Process;

/// How many megabytes of memory the scraper may use.
const MEMORY_LIMIT: f64 = 150.0;
/// How many messages a queue may hold.
const QUEUE_LIMIT: u64 = 20_000;
/// How many candidates the scraper publishes as a whole.
const BATCH: u64 = 1_000;
/// How many of the scraper's messages are taken at a time.
const PREFETCH: u16 = 500;
/// The pause between two readings of the queues.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The pause between two lines about the progress.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// When no message comes for this long, none will come any more.
const SILENCE: Duration = Duration::from_secs(60);

/// Expands lists of `count` URLs with no image behind them, so that each is found, fetched
/// and rejected. The scraper is stopped after one third, and killed after two thirds.
pub async fn run(report: &mut Report, count: u64) {
    let mut environment = Environment::servers().await;
    let catalog = environment.folder().join("catalog.db");
    environment.keep_catalog_in(&catalog);
    environment.limit_queues(QUEUE_LIMIT);
    let site = GeneratedSite::serve(Pictures::Missing).await;
    let (stores, broker) = (environment.stores().await, environment.broker().await);
    let mut scraper = Process::start(&environment, "scraper").await;
    let jobs = sources::enqueue(&environment, &site, count).await;
    let mut rejections = Taken::from(broker.consume(Queue::StorerImages, PREFETCH).await);
    let mut peaks = vec![];
    let (mut most_waiting, mut polled, mut logged) = (0, Instant::now(), Instant::now());
    while (rejections.candidates.len() as u64) < count && rejections.take().await {
        let taken = rejections.candidates.len() as u64;
        if polled.elapsed() > POLL_INTERVAL {
            polled = Instant::now();
            let depths = broker.depths().await.expect("the depths");
            let waiting = depths.get(Queue::ScraperCandidates.name());
            let waiting = waiting.map(|depth| depth.ready).unwrap_or_default();
            most_waiting = most_waiting.max(waiting);
            if logged.elapsed() > LOG_EVERY {
                logged = Instant::now();
                report.log(format_args!(
                    "{taken} of {count} rejected, {waiting} waiting; {:.1?} MB",
                    memory(&scraper)
                ));
            }
        }
        if peaks.is_empty() && taken > count / 3 {
            peaks.push(memory(&scraper).peak);
            let end = scraper.stop().await;
            report.check(end.success(), format_args!("stopped at {taken}: {end}"));
            scraper = Process::start(&environment, "scraper").await;
        }
        if peaks.len() == 1 && taken > 2 * (count / 3) {
            peaks.push(memory(&scraper).peak);
            scraper.kill().await;
            report.log(format_args!("killed at {taken}"));
            scraper = Process::start(&environment, "scraper").await;
        }
    }
    peaks.push(memory(&scraper).peak);
    let mut ended = Taken::from(broker.consume(Queue::StorerJobs, 1).await);
    for _ in &jobs {
        report.check(ended.take().await, "the end of an expansion was announced");
    }
    let counts = sources::counts(&*stores.catalog, &jobs).await;
    let taken = rejections.candidates.len() as u64;
    report.check(
        counts.found == count && taken == count,
        format_args!(
            "{count} lines, {} candidates in the catalog, {taken} rejected; {} messages repeated",
            counts.found, rejections.repeated
        ),
    );
    report.check(
        peaks.iter().all(|peak| *peak <= MEMORY_LIMIT),
        format_args!("peaks of the three scrapers: {peaks:.1?} MB"),
    );
    report.check(
        most_waiting <= QUEUE_LIMIT + BATCH,
        format_args!("limit {QUEUE_LIMIT}, at most {most_waiting} candidates waited"),
    );
    let end = scraper.stop().await;
    report.check(end.success(), format_args!("the scraper ended with {end}"));
    broker.close().await;
    environment.remove().await;
}

/// The candidates of the messages that the test takes from a queue in place of a stage.
struct Taken {
    consumer: Box<dyn Consumer>,
    candidates: HashSet<CandidateId>,
    /// How many messages were about a candidate that had a message before.
    repeated: u64,
}

impl<E: std::fmt::Debug> From<Result<Box<dyn Consumer>, E>> for Taken {
    fn from(consumer: Result<Box<dyn Consumer>, E>) -> Self {
        Self {
            consumer: consumer.expect("the queue can be consumed"),
            candidates: HashSet::new(),
            repeated: 0,
        }
    }
}

impl Taken {
    /// Takes one message. Returns `false` when none comes.
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
            self.repeated += u64::from(!self.candidates.insert(candidate));
        }
        delivery
            .settle
            .ack()
            .await
            .expect("nobody else has the delivery");
        true
    }
}
