//! A storer that can't keep up. The queues before it must stay short, because the stages
//! before it wait, too.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use maskline_runtime::broker::Depth;
use maskline_test_support::{
    environment::{Environment, Server},
    proxy::Proxy,
};
use tokio::time::sleep;

use super::{
    generated_site::{GeneratedSite, Pictures},
    report::Report,
};
use crate::process::Process;

/// How many messages a queue may hold.
const LIMIT: u64 = 500;
/// How many messages services may be publishing when a queue becomes full. They come on top
/// of the limit.
const IN_FLIGHT: u64 = 200;
/// How much later the storer receives the catalog's answers.
const DELAY: Duration = Duration::from_millis(200);
/// The pause between two readings of the queues and counts.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

pub async fn run(report: &mut Report, count: u64) {
    let mut environment = Environment::servers().await;
    environment.limit_queues(LIMIT);
    let proxy = Proxy::to(environment.host_and_port(Server::Catalog)).await;
    proxy.set_latency(DELAY);
    let mut services = join_all(
        ["scraper", "validator", "labeler"].map(|name| Process::start(&environment, name)),
    )
    .await;
    let slow = [environment.variable_through(proxy.address, Server::Catalog)];
    services.push(Process::start_with(&environment, "storer", &slow).await);
    let site = GeneratedSite::serve(Pictures::Drawn).await;
    let (stores, broker) = (environment.stores().await, environment.broker().await);
    let job = environment
        .enqueue(&["urls", &site.list(0..count), "--label-from", "column"])
        .await;
    let mut deepest: BTreeMap<String, u64> = BTreeMap::new();
    // How many candidates were found when a queue was full for the first time.
    let mut found_when_full = None;
    for poll in 0_u32.. {
        sleep(POLL_INTERVAL).await;
        for (queue, Depth { ready, .. }) in broker.depths().await.expect("the depths") {
            let deepest = deepest.entry(queue).or_default();
            *deepest = ready.max(*deepest);
        }
        let counts = stores.catalog.counts(job).await.expect("the counts");
        if found_when_full.is_none() && deepest.values().any(|depth| *depth >= LIMIT) {
            found_when_full = Some(counts.found);
        }
        if poll.is_multiple_of(20) {
            report.log(format_args!(
                "{} found, {} in flight; deepest queues {deepest:?}",
                counts.found, counts.in_flight
            ));
        }
        if counts.found - counts.in_flight >= count {
            break;
        }
    }
    let all = deepest.values().max().copied().unwrap_or_default();
    report.check(
        all <= LIMIT + IN_FLIGHT,
        format_args!("limit {LIMIT}, deepest queue {all}: {deepest:?}"),
    );
    let so_far = found_when_full.map_or("no queue was ever full".to_owned(), |found| {
        format!("a queue was full when {found} of {count} were found")
    });
    report.check(found_when_full.is_some_and(|found| found < count), so_far);
    proxy.set_latency(Duration::ZERO);
    let ended = environment.ended(job).await;
    report.check(
        ended["stored"] == count,
        format_args!("{} of {count} stored", ended["stored"]),
    );
    let redelivered = environment.redelivered().await;
    report.check(redelivered == 0, format_args!("{redelivered} redelivered"));
    broker.close().await;
    drop(services);
    environment.remove().await;
}
