//! The broker has no memory left, and takes nothing until it has.

use std::time::Duration;

use maskline_tests::{
    collection::{Collection, books_of},
    process::{Pipeline, Process},
    site::{Manners, Site},
    within,
};

use crate::{Cluster, at_work};

/// Longer than the services wait for the broker's answer, by far.
const ALARM: Duration = Duration::from_secs(25);

/// Shares of the memory: always in use, and RabbitMQ's own limit.
const LOW: &str = "0.000001";
const HIGH: &str = "0.4";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_takes_nothing_all_is_held_and_nothing_done_twice() {
    let cluster = Cluster::start_nodes().await;
    let collection = Collection::faces(60_000, 60).with_dirt(61_000);
    let half = &collection.entries[collection.entries.len() / 2..];
    let manners = Manners {
        held: half.iter().map(|entry| entry.path.clone()).collect(),
        ..Manners::default()
    };
    let site = Site::serve(&collection, manners).await;
    let mut services = cluster.start(&Pipeline::STAGES).await;
    let list = site.list();
    let args = ["urls", &list, "--label-from", "column"];
    let job = cluster.enqueue(&args).await;
    within("some images validated", at_work(&services[1])).await;

    cluster.block_from(LOW).await;
    // What the scraper has in hand goes on now, and meets a broker that takes nothing.
    site.open();
    within("the scraper to be blocked", blocked(&services[0])).await;
    let (status, _) = services[0].get("/healthz").await;
    assert_eq!(status, 200, "it is well, and only waits");
    tokio::time::sleep(ALARM).await;
    cluster.block_from(HIGH).await;

    let job = cluster.ended(&job).await;
    assert_eq!(job["state"], "frozen", "{job:#}");
    assert_eq!(books_of(&job), collection.books());
    assert_eq!(cluster.place.redelivered().await, 0);
    for service in &services {
        let said = service.said();
        assert!(!said.contains("connection to RabbitMQ is lost"), "{said}");
    }
    ends_all_the_same(&cluster, &mut services[0]).await;
    for service in &mut services[1..] {
        assert!(service.stop().await.success());
    }
    cluster.place.remove_stored().await;
}

impl Cluster {
    /// The nodes take nothing while this share of the memory is in use.
    async fn block_from(&self, share: &str) {
        self.control(&["set_vm_memory_high_watermark", share]).await;
    }
}

/// A scraper that has images in hand is asked to stop while the broker takes nothing.
async fn ends_all_the_same(cluster: &Cluster, scraper: &mut Process) {
    let collection = Collection::faces(62_000, 8);
    let manners = Manners {
        held: collection.entries.iter().map(|e| e.path.clone()).collect(),
        ..Manners::default()
    };
    let site = Site::serve(&collection, manners).await;
    let list = site.list();
    let args = ["urls", &list, "--label-from", "column"];
    cluster.enqueue(&args).await;
    let in_hand = async { while scraper.metric("maskline_messages_in_flight").await < 2.0 {} };
    within("images in hand", in_hand).await;
    cluster.block_from(LOW).await;
    site.open();
    within("the scraper to be blocked", blocked(scraper)).await;
    assert!(scraper.stop().await.success());
    cluster.block_from(HIGH).await;
}

/// Waits until the service says that the broker takes nothing.
async fn blocked(service: &Process) {
    loop {
        let (status, answer) = service.get("/readyz").await;
        if status == 503 && answer.contains("takes no messages now") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
