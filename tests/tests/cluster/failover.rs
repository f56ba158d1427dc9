//! A node is killed in the middle of a job.

use std::time::Duration;

use maskline_runtime::broker;
use maskline_test_support::wait::within;
use maskline_tests::{
    collection::{Collection, counts_of},
    dataset::FrozenDataset,
    process::{Process, SERVICES},
    site::{Behaviour, Site},
};
use serde_json::Value;

use crate::cluster::{Cluster, Node, at_work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_the_node_that_leads_its_queues() {
    let cluster = Cluster::start_nodes().await;
    let collection = Collection::faces(50_000, 150)
        .with_look_alikes(51_000)
        .with_rejects(52_000);
    // The second half is served when the node is dead, so that it dies in the middle.
    let half = &collection.entries[collection.entries.len() / 2..];
    let behaviour = Behaviour {
        held: half.iter().map(|entry| entry.path.clone()).collect(),
        ..Behaviour::default()
    };
    let site = Site::serve(&collection, behaviour).await;
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
    let survivor = survivor.expect("there are three nodes");
    kill(victim).await;
    site.release_held();

    let job = cluster.ended(&job).await;
    assert_eq!(job["state"], "done", "{job:#}");
    assert_eq!(counts_of(&job), collection.counts());
    let dataset = job["dataset"].as_str().expect("the job has a dataset");
    let dataset = dataset.parse().expect("a dataset id");
    let frozen = FrozenDataset::read(&cluster.environment, dataset).await;
    assert_eq!(frozen.labels(), collection.dataset_labels());
    let broker = broker::open(&cluster.broker)
        .await
        .expect("two nodes are running");
    let dead_letters = broker.dead_letters(10).await;
    let dead_letters = dead_letters.expect("the broker answers");
    assert!(dead_letters.is_empty(), "{dead_letters:?}");
    broker.close().await;

    within(
        "a connection of every service to another node",
        all_moved(&cluster, survivor, victim),
    )
    .await;
    let lost: usize = services.iter().map(lost_connections).sum();
    assert!(lost > 0, "no service was connected to the node that died");
    for service in &mut services {
        assert!(service.stop().await.success());
    }
    cluster.environment.remove_stored().await;
}

impl Cluster {
    /// The node that leads most of the queues. Each queue must have three members.
    async fn leader(&self) -> &Node {
        let queues = self.environment.vhost().queues().await;
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

/// Kills a node by SIGKILL.
async fn kill(node: &Node) {
    let mut kill = tokio::process::Command::new("kill");
    let killed = kill.args(["-KILL", &node.pid.to_string()]).status().await;
    assert!(killed.expect("kill is everywhere").success());
    println!("{} is killed", node.name);
}

/// Waits until all services are connected, and none of them to the dead node.
async fn all_moved(cluster: &Cluster, survivor: &Node, dead: &Node) {
    loop {
        let connections = cluster.connections(survivor).await;
        let with_dead = |connection: &Value| connection["node"] == dead.name.as_str();
        if connections.len() == SERVICES.len() && !connections.iter().any(with_dead) {
            return;
        }
        // RabbitMQ updates its list of connections every few seconds.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn lost_connections(service: &Process) -> usize {
    let log = service.log();
    let lost = log.matches("the connection to RabbitMQ is lost").count();
    println!("{} has lost {lost} connections", service.name());
    lost
}
