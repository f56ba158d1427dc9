//! A RabbitMQ of our own, to be ended and started.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;
use url::Url;

use super::round::until;
use crate::place::Place;

/// A node that `tests/servers/rabbitmq/start` made. Ended with it.
pub struct Node {
    folder: TempDir,
    addresses: BTreeMap<String, String>,
}

/// Where `tests/servers/stop` looks for them.
const FILES: &str = "rabbitmq";

/// How a node is ended.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    Term,
    Kill,
}

impl Node {
    /// `Err`: why there can't be one on this machine.
    pub async fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = folder.path().join(FILES);
        std::fs::create_dir(&files).expect("a temporary folder takes folders");
        let mut start = Command::new(scripts().join("rabbitmq/start"));
        let start = start.arg(&files);
        // Else it would only name the one that there is.
        for given in ["MASKLINE_TEST_RABBITMQ", "MASKLINE_TEST_RABBITMQ_HTTP"] {
            start.env_remove(given);
        }
        let started = start.output().await.expect("the script starts");
        if !started.status.success() {
            let why = String::from_utf8_lossy(&started.stderr);
            return Err(format!("RabbitMQ does not start: {}", why.trim()));
        }
        if files.join("container").exists() {
            stop(folder.path());
            return Err("RabbitMQ is a container here, and would start on another port".to_owned());
        }
        let addresses = read(&files.join("env"));
        let addresses = addresses.lines().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        });
        Ok(Self {
            addresses: addresses.collect(),
            folder,
        })
    }

    /// A virtual host of it, and places of its own on the other servers.
    pub async fn place(&self) -> Place {
        let broker = self.url("MASKLINE_TEST_RABBITMQ");
        Place::servers_with(broker, self.url("MASKLINE_TEST_RABBITMQ_HTTP")).await
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join(FILES)
    }

    fn url(&self, name: &str) -> Url {
        self.addresses[name]
            .parse()
            .expect("the script writes addresses")
    }

    /// Ends the node and waits until it is gone.
    pub async fn end(&self, signal: Signal) {
        let pid = read(&self.files().join("pid"));
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
            .arg(self.files())
            .status();
        let again = again.await.expect("the script starts");
        assert!(again.success(), "RabbitMQ does not start again: {again}");
        let management = self.url("MASKLINE_TEST_RABBITMQ_HTTP");
        let check = management.join("/api/health/checks/virtual-hosts");
        let check = check.expect("a path");
        let answers = async || {
            let answer = reqwest::get(check.clone()).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        assert!(until(answers).await, "RabbitMQ does not answer again");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        stop(self.folder.path());
    }
}

fn stop(folder: &Path) {
    let stop = std::process::Command::new(scripts().join("stop"))
        .arg(folder)
        .status();
    if !stop.is_ok_and(|status| status.success()) {
        eprintln!("a RabbitMQ may still run: see {}", folder.display());
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers")
}

fn read(file: &Path) -> String {
    let text = std::fs::read_to_string(file);
    text.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
