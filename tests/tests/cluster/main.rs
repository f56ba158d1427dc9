//! A cluster of RabbitMQ nodes, by TLS: what becomes of a job when something happens to
//! it. Each test has a cluster of its own.

mod alarm;
mod failover;

use futures::future::join_all;
use maskline_tests::{
    place::{Place, Server},
    process::Process,
    servers::Started,
};
use serde_json::Value;
use url::Url;

/// Three nodes, and a place whose queues are there.
struct Cluster {
    servers: Started,
    place: Place,
    nodes: Vec<Node>,
    vhost: String,
    /// Leads the place's processes to all nodes.
    broker: String,
}

struct Node {
    /// As RabbitMQ calls it.
    name: String,
    pid: u32,
    management: Url,
}

impl Cluster {
    async fn start_nodes() -> Self {
        let servers = Started::new("cluster").await;
        let address = servers.told("MASKLINE_TEST_CLUSTER");
        let (access, hosts) = address.split_once('@').expect("user and password");
        let (hosts, _) = hosts.split_once('/').expect("a virtual host");
        let apis = servers.told("MASKLINE_TEST_CLUSTER_HTTP");
        let pids = servers.told("MASKLINE_TEST_CLUSTER_PIDS");
        let nodes: Vec<_> = hosts
            .split(',')
            .zip(apis.split(',').zip(pids.split(',')))
            .map(|(host, (api, pid))| {
                let (_, port) = host.split_once(':').expect("a port");
                Node {
                    name: format!("maskline-{port}@localhost"),
                    pid: pid.parse().expect("a process id"),
                    management: api.parse().expect("an address"),
                }
            })
            .collect();
        // Only the virtual host is of interest: a place knows of one node.
        let one: Url = format!("{access}@{}", hosts.split(',').next().expect("one"))
            .parse()
            .expect("an address");
        let place = Place::servers_with(one, nodes[0].management.clone()).await;
        let loopback = ([127, 0, 0, 1], 1).into();
        let (_, by_one) = place.by_way_of(loopback, Server::Broker);
        let vhost = by_one
            .rsplit_once('/')
            .expect("a virtual host")
            .1
            .to_owned();
        let authority = servers.told("MASKLINE_TEST_CLUSTER_AUTHORITY");
        Self {
            broker: format!("{access}@{hosts}/{vhost}?cacertfile={authority}"),
            servers,
            place,
            nodes,
            vhost,
        }
    }

    fn variables(&self) -> [(String, String); 1] {
        [("MASKLINE_BROKER".to_owned(), self.broker.clone())]
    }

    async fn start(&self, names: &[&str]) -> Vec<Process> {
        let variables = self.variables();
        let starting = names
            .iter()
            .map(|name| Process::start_with(&self.place, name, &variables));
        join_all(starting).await
    }

    /// `maskline ARGS… --json`.
    async fn json(&self, args: &[&str]) -> Vec<Value> {
        self.place.json_with(args, &self.variables()).await
    }

    /// `maskline enqueue ARGS…`: the job's id.
    async fn enqueue(&self, args: &[&str]) -> String {
        let printed = self.json(&[&["enqueue"], args].concat()).await;
        let id = printed[0]["id"].as_str().expect("it prints the job's id");
        id.to_owned()
    }

    /// The job when it has ended.
    async fn ended(&self, job: &str) -> Value {
        let printed = self.json(&["status", job, "--watch"]).await;
        printed.into_iter().next_back().expect("it prints the job")
    }

    /// What a node's management says of the place's `queues` or `connections`.
    async fn ask(&self, node: &Node, path: &[&str]) -> Vec<Value> {
        let mut url = node.management.clone();
        let segments = url.path_segments_mut();
        segments.expect("an http address").push("api").extend(path);
        let answer = reqwest::get(url).await.expect("the management answers");
        let list = answer.text().await.expect("a whole body");
        serde_json::from_str(&list).expect("a list")
    }

    async fn connections(&self, node: &Node) -> Vec<Value> {
        self.ask(node, &["vhosts", &self.vhost, "connections"])
            .await
    }

    /// Runs `rabbitmqctl ARGS…`.
    async fn control(&self, args: &[&str]) {
        let mut command =
            tokio::process::Command::new(self.servers.told("MASKLINE_TEST_CLUSTER_CTL"));
        let output = command.args(args).output().await;
        let output = output.expect("rabbitmqctl starts");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

/// Waits until it has finished some messages.
async fn at_work(service: &Process) {
    while service.metric("maskline_messages_handled_total").await == 0.0 {}
}
