//! A RabbitMQ of our own, to be ended and started.

use tokio::process::Command;

use super::round::until;
use crate::{
    place::Place,
    servers::{Started, read, scripts},
};

/// A node that `tests/servers/rabbitmq/start` made. Ended with it.
pub struct Node(Started);

/// How a node is ended.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    Term,
    Kill,
}

impl Node {
    /// `Err`: why one that starts here can't be started again. Panics where none starts.
    pub async fn start() -> Result<Self, String> {
        let node = Started::new("rabbitmq").await;
        if node.files().join("container").exists() {
            return Err("RabbitMQ is a container here, and would start on another port".to_owned());
        }
        Ok(Self(node))
    }

    /// A virtual host of it, and places of its own on the other servers.
    pub async fn place(&self) -> Place {
        let broker = self.0.address("MASKLINE_TEST_RABBITMQ");
        Place::servers_with(broker, self.0.address("MASKLINE_TEST_RABBITMQ_HTTP")).await
    }

    /// Ends the node and waits until it is gone.
    pub async fn end(&self, signal: Signal) {
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

    /// Starts it again where it was, and waits until it takes connections.
    pub async fn again(&self) {
        let again = Command::new(scripts().join("rabbitmq/again"))
            .arg(self.0.files())
            .status();
        let again = again.await.expect("the script starts");
        assert!(again.success(), "RabbitMQ does not start again: {again}");
        let management = self.0.address("MASKLINE_TEST_RABBITMQ_HTTP");
        let check = management.join("/api/health/checks/virtual-hosts");
        let check = check.expect("a path");
        let answers = async || {
            let answer = reqwest::get(check.clone()).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        assert!(until(answers).await, "RabbitMQ does not answer again");
    }
}
