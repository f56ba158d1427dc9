//! A RabbitMQ node that belongs to one test, which can stop it and start it again.

use maskline_test_support::environment::Environment;
use tokio::process::Command;

use super::job_under_test::until;
use crate::own_server::{OwnServer, read, scripts};

/// A node that `tests/servers/rabbitmq/start` started. It is stopped when it is dropped.
pub struct Node(OwnServer);

/// The signal that stops a node.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    Term,
    Kill,
}

impl Node {
    /// Starts a node. The error says why a node of this machine can't be started again.
    /// Panics where none starts at all.
    pub async fn start() -> Result<Self, String> {
        let node = OwnServer::start("rabbitmq").await;
        if node.files().join("container").exists() {
            return Err("RabbitMQ is a container here, and would start on another port".to_owned());
        }
        Ok(Self(node))
    }

    /// An environment with a new virtual host of this node, and on the other test servers.
    pub async fn environment(&self) -> Environment {
        let broker = self.0.address("MASKLINE_TEST_RABBITMQ");
        let management = self.0.address("MASKLINE_TEST_RABBITMQ_HTTP");
        Environment::servers_with_rabbitmq(broker, management).await
    }

    /// Stops the node and waits until its process is gone.
    pub async fn stop(&self, signal: Signal) {
        let pid = read(&self.0.files().join("pid"));
        let name = match signal {
            Signal::Term => "-TERM",
            Signal::Kill => "-KILL",
        };
        let kill = async |signal: &str| {
            let kill = Command::new("kill").args([signal, pid.trim()]).output();
            kill.await.expect("kill is everywhere").status.success()
        };
        assert!(kill(name).await, "RabbitMQ ran until now");
        let gone = until(async || !kill("-0").await).await;
        assert!(gone, "RabbitMQ does not end");
    }

    /// Starts the node again with its files and ports, and waits until it is ready.
    pub async fn restart(&self) {
        let restarted = Command::new(scripts().join("rabbitmq/restart"))
            .arg(self.0.files())
            .status();
        let restarted = restarted.await.expect("the script starts");
        assert!(
            restarted.success(),
            "RabbitMQ does not start again: {restarted}"
        );
        let management = self.0.address("MASKLINE_TEST_RABBITMQ_HTTP");
        let check = management.join("/api/health/checks/virtual-hosts");
        let check = check.expect("the path is right");
        let is_ready = async || {
            let answer = reqwest::get(check.clone()).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        assert!(until(is_ready).await, "RabbitMQ does not answer again");
    }
}
