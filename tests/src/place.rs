//! Where one test's broker, objects and catalog are: nothing that another test sees.

use std::{path::Path, sync::Arc};

use maskline_runtime::{Broker, broker};
use maskline_storage::{StorageArgs, Stores};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use crate::collector::Collector;

/// The addresses that every process of a test is given.
pub struct Place {
    broker: String,
    objects: String,
    catalog: String,
    /// OpenTelemetry's variables, where traces are collected.
    traces: Vec<(String, String)>,
    folder: TempDir,
    servers: Option<Servers>,
}

/// What lies on servers and is to be removed.
struct Servers {
    /// The management API, for the virtual host.
    management: Url,
    vhost: String,
}

impl Place {
    /// One folder with everything in it.
    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        Self {
            broker: format!("embedded:{}", at("queue.db")),
            objects: format!("file:{}", at("objects")),
            catalog: format!("sqlite:{}", at("catalog.db")),
            traces: vec![],
            folder,
            servers: None,
        }
    }

    /// A virtual host, a prefix and a database of its own on RabbitMQ, S3 and MongoDB.
    pub async fn servers() -> Self {
        let name = format!("maskline-test-{}", Uuid::new_v4().simple());
        let mut broker = server("MASKLINE_TEST_RABBITMQ");
        broker.set_path(&name);
        let mut objects = server("MASKLINE_TEST_S3");
        objects.set_path(&name);
        let mut catalog = server("MASKLINE_TEST_MONGODB");
        catalog.set_path(&name);
        let servers = Servers {
            management: server("MASKLINE_TEST_RABBITMQ_HTTP"),
            vhost: name,
        };
        servers.make_vhost().await;
        Self {
            broker: broker.into(),
            objects: objects.into(),
            catalog: catalog.into(),
            traces: vec![],
            folder: tempfile::tempdir().expect("a temporary folder"),
            servers: Some(servers),
        }
    }

    /// From now on processes send their spans there.
    pub fn trace_to(&mut self, collector: &Collector) {
        self.traces = vec![
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
                collector.endpoint(),
            ),
            (
                "OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(),
                "http/protobuf".to_owned(),
            ),
        ];
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The environment of a service or the command.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut variables: Vec<_> = [
            ("MASKLINE_BROKER", self.broker.as_str()),
            ("MASKLINE_OBJECTS", &self.objects),
            ("MASKLINE_CATALOG", &self.catalog),
            // The web site is on this machine, and not to be treated gently.
            ("MASKLINE_ALLOW_PRIVATE_HOSTS", "true"),
            ("MASKLINE_PER_HOST", "16"),
            ("MASKLINE_PER_HOST_RATE", "10000"),
            ("MASKLINE_RETRY_BASE", "0.05"),
            ("MASKLINE_DEVICE", "cpu"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        variables.extend(self.traces.clone());
        variables
    }

    pub async fn broker(&self) -> Arc<dyn Broker> {
        broker::open(&self.broker).await.expect("the broker opens")
    }

    pub async fn stores(&self) -> Stores {
        let args = StorageArgs {
            objects: self.objects.clone(),
            catalog: self.catalog.as_str().into(),
        };
        let stores = args.open(self.folder()).await;
        stores.expect("the object store and the catalog open")
    }

    /// Leaves nothing on the servers.
    pub async fn remove(self) {
        let Some(servers) = &self.servers else { return };
        servers.remove_vhost().await;
        let client = mongodb::Client::with_uri_str(&self.catalog).await;
        let client = client.expect("the test's own address");
        let database = client.default_database().expect("it names a database");
        database.drop().await.expect("the database is dropped");
        let objects = self.stores().await.objects;
        for key in objects.list("", None, usize::MAX >> 1).await.expect("keys") {
            objects.delete(&key).await.expect("it is ours");
        }
    }
}

fn server(variable: &str) -> Url {
    let address = std::env::var(variable);
    let address = address.unwrap_or_else(|_| panic!("{variable} is not set: run tests/run"));
    let parsed = address.parse();
    parsed.unwrap_or_else(|error| panic!("{variable} is no address: {error}"))
}

impl Servers {
    async fn make_vhost(&self) {
        self.api(reqwest::Method::PUT, &["vhosts", &self.vhost], "{}")
            .await;
        let everything = r#"{"configure":".*","write":".*","read":".*"}"#;
        let user = self.management.username();
        let permissions = ["permissions", &self.vhost, user];
        self.api(reqwest::Method::PUT, &permissions, everything)
            .await;
    }

    async fn remove_vhost(&self) {
        self.api(reqwest::Method::DELETE, &["vhosts", &self.vhost], "")
            .await;
    }

    async fn api(&self, method: reqwest::Method, path: &[&str], body: &'static str) {
        let mut url = self.management.clone();
        let segments = url.path_segments_mut();
        segments
            .expect("an http address")
            .clear()
            .push("api")
            .extend(path);
        let request = reqwest::Client::new().request(method, url);
        let request = request.header("content-type", "application/json");
        let answer = request.body(body).send().await;
        let answer = answer.expect("RabbitMQ's management API answers");
        assert!(answer.status().is_success(), "{path:?}: {answer:?}");
    }
}
