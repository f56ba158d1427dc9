//! The memory alarm of RabbitMQ: while it is on, the broker takes no messages.

use std::time::Duration;

use maskline_test_support::wait::within;
use maskline_tests::{
    collection::{Collection, counts_of},
    process::{Pipeline, Process},
    site::{Behaviour, Site},
};

use crate::cluster::{Cluster, at_work};

/// How long the alarm is on. The services wait much less long for the broker's answer.
const ALARM: Duration = Duration::from_secs(25);

/// A share of the memory that is always in use.
const LOW: &str = "0.000001";
/// The share at which RabbitMQ raises the alarm by default.
const HIGH: &str = "0.4";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_a_memory_alarm_services_wait_and_handle_no_message_twice() {
    let cluster = Cluster::start_nodes().await;
    let collection = Collection::faces(60_000, 60).with_rejects(61_000);
    let half = &collection.entries[collection.entries.len() / 2..];
    let behaviour = Behaviour {
        held: half.iter().map(|entry| entry.path.clone()).collect(),
        ..Behaviour::default()
    };
    let site = Site::serve(&collection, behaviour).await;
    let mut services = cluster.start(&Pipeline::STAGES).await;
    let list = site.list();
    let args = ["urls", &list, "--label-from", "column"];
    let job = cluster.enqueue(&args).await;
    within("some images validated", at_work(&services[1])).await;

    cluster.raise_alarm_at(LOW).await;
    // The scraper goes on with its messages now, and can't publish anything.
    site.release_held();
    within("the scraper to be blocked", blocked(&services[0])).await;
    let (status, _) = services[0].get("/healthz").await;
    assert_eq!(status, 200, "a service that waits is healthy");
    tokio::time::sleep(ALARM).await;
    cluster.raise_alarm_at(HIGH).await;

    let job = cluster.ended(&job).await;
    assert_eq!(job["state"], "frozen", "{job:#}");
    assert_eq!(counts_of(&job), collection.counts());
    assert_eq!(cluster.environment.redelivered().await, 0);
    for service in &services {
        let log = service.log();
        assert!(!log.contains("connection to RabbitMQ is lost"), "{log}");
    }
    stops_during_an_alarm(&cluster, &mut services[0]).await;
    for service in &mut services[1..] {
        assert!(service.stop().await.success());
    }
    cluster.environment.remove_stored().await;
}

impl Cluster {
    /// The nodes take no messages while this share of the memory is in use.
    async fn raise_alarm_at(&self, share: &str) {
        self.control(&["set_vm_memory_high_watermark", share]).await;
    }
}

/// Asks a scraper to stop during the alarm, while it is handling messages. It must end with
/// success all the same.
async fn stops_during_an_alarm(cluster: &Cluster, scraper: &mut Process) {
    let collection = Collection::faces(62_000, 8);
    let behaviour = Behaviour {
        held: collection.entries.iter().map(|e| e.path.clone()).collect(),
        ..Behaviour::default()
    };
    let site = Site::serve(&collection, behaviour).await;
    let list = site.list();
    let args = ["urls", &list, "--label-from", "column"];
    cluster.enqueue(&args).await;
    let in_flight = async { while scraper.metric("maskline_messages_in_flight").await < 2.0 {} };
    within("images in flight", in_flight).await;
    cluster.raise_alarm_at(LOW).await;
    site.release_held();
    within("the scraper to be blocked", blocked(scraper)).await;
    assert!(scraper.stop().await.success());
    cluster.raise_alarm_at(HIGH).await;
}

/// Waits until the service reports that the broker takes no messages.
async fn blocked(service: &Process) {
    loop {
        let (status, answer) = service.get("/readyz").await;
        if status == 503 && answer.contains("takes no messages now") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
