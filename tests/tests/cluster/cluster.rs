//! The cluster that a test works with.

use futures::future::join_all;
use maskline_test_support::{environment::Environment, rabbitmq::Management};
use maskline_tests::{own_server::OwnServer, process::Process};
use serde_json::Value;
use url::Url;

/// Three nodes, and an environment whose queues are on them.
pub struct Cluster {
    servers: OwnServer,
    /// Its own broker address has one node alone.
    pub environment: Environment,
    pub nodes: Vec<Node>,
    /// The address with all nodes, which the services get.
    pub broker: String,
}

pub struct Node {
    /// The name that RabbitMQ has given it.
    pub name: String,
    pub pid: u32,
    management: Url,
}

impl Cluster {
    pub async fn start_nodes() -> Self {
        let servers = OwnServer::start("cluster").await;
        let address = servers.variable("MASKLINE_TEST_CLUSTER");
        let (access, hosts) = address.split_once('@').expect("user and password");
        let (hosts, _) = hosts.split_once('/').expect("a virtual host");
        let apis = servers.variable("MASKLINE_TEST_CLUSTER_HTTP");
        let pids = servers.variable("MASKLINE_TEST_CLUSTER_PIDS");
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
        let first = hosts.split(',').next().expect("the first node");
        let broker: Url = format!("{access}@{first}").parse().expect("an address");
        let management = nodes[0].management.clone();
        let environment = Environment::servers_with_rabbitmq(broker, management).await;
        let vhost = environment.vhost().name();
        let authority = servers.variable("MASKLINE_TEST_CLUSTER_AUTHORITY");
        Self {
            broker: format!("{access}@{hosts}/{vhost}?cacertfile={authority}"),
            servers,
            environment,
            nodes,
        }
    }

    fn variables(&self) -> [(String, String); 1] {
        [("MASKLINE_BROKER".to_owned(), self.broker.clone())]
    }

    pub async fn start(&self, names: &[&str]) -> Vec<Process> {
        let variables = self.variables();
        let starting = names
            .iter()
            .map(|name| Process::start_with(&self.environment, name, &variables));
        join_all(starting).await
    }

    /// Runs `maskline ARGS… --json`.
    async fn json(&self, args: &[&str]) -> Vec<Value> {
        self.environment.json_with(args, &self.variables()).await
    }

    /// Runs `maskline enqueue ARGS…`. Returns the job's id.
    pub async fn enqueue(&self, args: &[&str]) -> String {
        let printed = self.json(&[&["enqueue"], args].concat()).await;
        let id = printed[0]["id"].as_str().expect("it prints the job's id");
        id.to_owned()
    }

    /// Waits until the job has ended. Returns the job.
    pub async fn ended(&self, job: &str) -> Value {
        let printed = self.json(&["status", job, "--watch"]).await;
        printed.into_iter().next_back().expect("it prints the job")
    }

    /// The connections to the virtual host, as a node lists them.
    pub async fn connections(&self, node: &Node) -> Vec<Value> {
        let vhost = self.environment.vhost().name();
        let management = Management::at(node.management.clone());
        management.list(&["vhosts", vhost, "connections"]).await
    }

    /// Runs `rabbitmqctl ARGS…`.
    pub async fn control(&self, args: &[&str]) {
        let mut command =
            tokio::process::Command::new(self.servers.variable("MASKLINE_TEST_CLUSTER_CTL"));
        let output = command.args(args).output().await;
        let output = output.expect("rabbitmqctl starts");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

/// Waits until the service has handled a message.
pub async fn at_work(service: &Process) {
    while service.metric("maskline_messages_handled_total").await == 0.0 {}
}
