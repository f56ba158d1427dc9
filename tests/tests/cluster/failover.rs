//! A node is killed in the middle of a job.

use std::time::Duration;

use maskline_runtime::broker;
use maskline_tests::{
    collection::{Collection, books_of},
    dataset::Frozen,
    process::Process,
    site::{Manners, Site},
    within,
};
use serde_json::Value;

use crate::{Cluster, Node, at_work};

const SERVICES: [&str; 5] = ["scraper", "validator", "labeler", "storer", "trainer"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_the_node_that_leads_its_queues() {
    let cluster = Cluster::start_nodes().await;
    let collection = Collection::faces(50_000, 150)
        .with_likes(51_000)
        .with_dirt(52_000);
    // The second half comes only when the node is dead: it dies in the middle.
    let half = &collection.entries[collection.entries.len() / 2..];
    let manners = Manners {
        held: half.iter().map(|entry| entry.path.clone()).collect(),
        ..Manners::default()
    };
    let site = Site::serve(&collection, manners).await;
    let mut services = cluster.start(&SERVICES).await;
    let list = site.list();
    let args = ["urls", &list, "--label-from", "column"];
    let training = [
        "--train",
        "mobilenet_v3_small",
        "--pixels",
        "32",
        "--epochs",
        "1",
    ];
    let job = cluster.enqueue(&[&args[..], &training].concat()).await;
    within("some images validated", at_work(&services[1])).await;

    let victim = cluster.leader().await;
    let survivor = cluster.nodes.iter().find(|node| node.pid != victim.pid);
    let survivor = survivor.expect("there are three");
    kill(victim).await;
    site.open();

    let job = cluster.ended(&job).await;
    assert_eq!(job["state"], "done", "{job:#}");
    assert_eq!(books_of(&job), collection.books());
    let dataset = job["dataset"].as_str().expect("the job has a dataset");
    let dataset = dataset.parse().expect("a dataset id");
    let frozen = Frozen::read(&cluster.place, dataset).await;
    assert_eq!(frozen.labels(), collection.dataset());
    let broker = broker::open(&cluster.broker)
        .await
        .expect("two nodes are there");
    let letters = broker.dead_letters(10).await.expect("it answers");
    assert!(letters.is_empty(), "{letters:?}");
    broker.close().await;

    within(
        "every service with another node",
        moved(&cluster, survivor, victim),
    )
    .await;
    let lost: usize = services.iter().map(lost_connections).sum();
    assert!(lost > 0, "nobody was connected to the node that died");
    for service in &mut services {
        assert!(service.stop().await.success());
    }
    cluster.place.remove_stored().await;
}

impl Cluster {
    /// The node that leads most of the queues, all of which have three members.
    async fn leader(&self) -> &Node {
        let queues = self.ask(&self.nodes[0], &["queues", &self.vhost]).await;
        for queue in &queues {
            let members = queue["members"].as_array().map(Vec::len);
            assert_eq!(members, Some(3), "{queue:#}");
        }
        let led = |node: &&Node| {
            let leads = |queue: &&Value| queue["leader"] == node.name.as_str();
            queues.iter().filter(leads).count()
        };
        let leader = self.nodes.iter().max_by_key(led).expect("three nodes");
        println!(
            "{} leads {} of {} queues",
            leader.name,
            led(&leader),
            queues.len()
        );
        leader
    }
}

/// SIGKILL.
async fn kill(node: &Node) {
    let mut kill = tokio::process::Command::new("kill");
    let killed = kill.args(["-KILL", &node.pid.to_string()]).status().await;
    assert!(killed.expect("kill is everywhere").success());
    println!("{} is killed", node.name);
}

/// Waits until all services are connected, and none to the dead node.
async fn moved(cluster: &Cluster, survivor: &Node, dead: &Node) {
    loop {
        let connections = cluster.connections(survivor).await;
        let with_dead = |connection: &Value| connection["node"] == dead.name.as_str();
        if connections.len() == SERVICES.len() && !connections.iter().any(with_dead) {
            return;
        }
        // RabbitMQ hears of connections that come and go every few seconds.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn lost_connections(service: &Process) -> usize {
    let said = service.said();
    let lost = said.matches("the connection to RabbitMQ is lost").count();
    println!("{} has lost {lost} connections", service.name());
    lost
}
