//! A storer that can't keep up: what waits for it, and that all before it wait too.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use maskline_runtime::broker::Depth;
use tokio::time::sleep;

use super::{
    Report,
    web::{Pictures, Web},
};
use crate::{
    faults::proxy::Proxy,
    place::{Place, Server},
    process::Process,
};

/// Messages that a queue may hold.
const LIMIT: u64 = 500;
/// Messages that services have on their way to a queue when it is full, and so come on top.
const ON_THE_WAY: u64 = 200;
/// What the storer's catalog takes longer to answer.
const DELAY: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub async fn run(report: &mut Report, count: u64) {
    let mut place = Place::servers().await;
    place.limit_queues(LIMIT);
    let way = Proxy::to(place.listens(Server::Catalog)).await;
    way.set_latency(DELAY);
    let mut services =
        join_all(["scraper", "validator", "labeler"].map(|name| Process::start(&place, name)))
            .await;
    let slow = [place.by_way_of(way.address, Server::Catalog)];
    services.push(Process::start_with(&place, "storer", &slow).await);
    let web = Web::serve(Pictures::Drawn).await;
    let (stores, broker) = (place.stores().await, place.broker().await);
    let job = place
        .enqueue(&["urls", &web.list(count), "--label-from", "column"])
        .await;
    let mut deepest: BTreeMap<String, u64> = BTreeMap::new();
    // What was found when a queue was full for the first time.
    let mut found_when_full = None;
    for look in 0_u32.. {
        sleep(LOOK_EVERY).await;
        for (queue, Depth { ready, .. }) in broker.depths().await.expect("the depths") {
            let deepest = deepest.entry(queue).or_default();
            *deepest = ready.max(*deepest);
        }
        let books = stores.catalog.counts(job).await.expect("the books");
        if found_when_full.is_none() && deepest.values().any(|depth| *depth >= LIMIT) {
            found_when_full = Some(books.found);
        }
        if look.is_multiple_of(20) {
            report.say(format_args!(
                "{} found, {} in flight; deepest queues {deepest:?}",
                books.found, books.in_flight
            ));
        }
        if books.found - books.in_flight >= count {
            break;
        }
    }
    let all = deepest.values().max().copied().unwrap_or_default();
    report.must(
        all <= LIMIT + ON_THE_WAY,
        format_args!("limit {LIMIT}, deepest queue {all}: {deepest:?}"),
    );
    let so_far = found_when_full.map_or("no queue was ever full".to_owned(), |found| {
        format!("a queue was full when {found} of {count} were found")
    });
    report.must(found_when_full.is_some_and(|found| found < count), so_far);
    way.set_latency(Duration::ZERO);
    let ended = place.ended(job).await;
    report.must(
        ended["stored"] == count,
        format_args!("{} of {count} stored", ended["stored"]),
    );
    let redelivered = place.redelivered().await;
    report.must(redelivered == 0, format_args!("{redelivered} redelivered"));
    broker.close().await;
    drop(services);
    place.remove().await;
}
