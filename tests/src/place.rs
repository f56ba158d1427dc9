//! Where one test's broker, objects and catalog are: nothing that another test sees.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc};

use futures::{StreamExt, stream};
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
    /// Variables beside those of the addresses.
    also: Vec<(String, String)>,
    folder: TempDir,
    servers: Option<Servers>,
}

/// What a service talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Broker,
    Objects,
    Catalog,
}

impl Server {
    pub const ALL: [Self; 3] = [Self::Broker, Self::Objects, Self::Catalog];

    pub fn name(self) -> &'static str {
        match self {
            Self::Broker => "RabbitMQ",
            Self::Objects => "S3",
            Self::Catalog => "MongoDB",
        }
    }
}

/// Objects that are removed at a time.
const REMOVALS: usize = 16;

/// What lies on servers and is to be removed.
struct Servers {
    /// The management API, for the virtual host.
    management: Url,
    vhost: String,
    /// Whether there is a user of the virtual host's name.
    own_user: bool,
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
            also: vec![],
            folder,
            servers: None,
        }
    }

    /// A virtual host, a prefix and a database of its own on RabbitMQ, S3 and MongoDB.
    pub async fn servers() -> Self {
        let broker = server("MASKLINE_TEST_RABBITMQ");
        Self::servers_with(broker, server("MASKLINE_TEST_RABBITMQ_HTTP")).await
    }

    /// The same on another RabbitMQ, with its management API.
    pub async fn servers_with(mut broker: Url, management: Url) -> Self {
        let name = format!("maskline-test-{}", Uuid::new_v4().simple());
        broker.set_path(&name);
        let mut objects = server("MASKLINE_TEST_S3");
        objects.set_path(&name);
        let mut catalog = server("MASKLINE_TEST_MONGODB");
        catalog.set_path(&name);
        let servers = Servers {
            management,
            vhost: name,
            own_user: false,
        };
        servers.make_vhost().await;
        Self {
            broker: broker.into(),
            objects: objects.into(),
            catalog: catalog.into(),
            also: vec![],
            folder: tempfile::tempdir().expect("a temporary folder"),
            servers: Some(servers),
        }
    }

    /// From now on objects lie in this folder.
    pub fn keep_objects_in(&mut self, folder: &Path) {
        self.objects = format!("file:{}", folder.display());
    }

    /// From now on processes are a user of RabbitMQ who is made for it, with this password.
    pub async fn log_in_with(&mut self, password: &str) {
        let mut broker = self.url(Server::Broker);
        let servers = self.servers.as_mut().expect("a place on servers");
        servers.own_user = true;
        let user = &servers.vhost;
        let account = serde_json::json!({ "password": password, "tags": "" });
        servers
            .api(reqwest::Method::PUT, &["users", user], &account.to_string())
            .await;
        servers.permit(user).await;
        let set = broker.set_username(user);
        set.and_then(|()| broker.set_password(Some(password)))
            .expect("it has a host");
        self.broker = broker.into();
    }

    /// From now on the catalog is this file.
    pub fn keep_catalog_in(&mut self, file: &Path) {
        self.catalog = format!("sqlite:{}", file.display());
    }

    /// From now on each queue holds at most so many messages.
    pub fn limit_queues(&mut self, most: u64) {
        self.broker += &format!("?max_length={most}");
    }

    /// From now on processes send their spans there.
    pub fn trace_to(&mut self, collector: &Collector) {
        self.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint());
        self.set("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    }

    /// From now on processes have this variable, too.
    pub fn set(&mut self, name: &str, value: &str) {
        self.also.push((name.to_owned(), value.to_owned()));
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
        variables.extend(self.also.clone());
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

    /// Where a server listens, as `HOST:PORT`.
    pub fn listens(&self, server: Server) -> String {
        let url = self.url(server);
        let url = match server {
            Server::Objects => {
                let endpoint = url.query_pairs().find(|(name, _)| name == "endpoint");
                let (_, endpoint) = endpoint.expect("MASKLINE_TEST_S3 names an endpoint");
                endpoint.parse().expect("the endpoint is an address")
            }
            Server::Broker | Server::Catalog => url,
        };
        let host = url.host_str().expect("a server has a host");
        let usual = match server {
            Server::Broker => 5672,
            Server::Objects => 80,
            Server::Catalog => 27017,
        };
        format!("{host}:{}", url.port_or_known_default().unwrap_or(usual))
    }

    /// The variable that leads a service to a server by way of `address`.
    pub fn by_way_of(&self, address: SocketAddr, server: Server) -> (String, String) {
        let mut url = self.url(server);
        let through = |url: &mut Url| {
            let host = url.set_host(Some(&address.ip().to_string()));
            host.expect("an IP address is a host");
            url.set_port(Some(address.port())).expect("it has a host");
        };
        let name = match server {
            Server::Broker => {
                through(&mut url);
                "MASKLINE_BROKER"
            }
            Server::Objects => {
                let mut pairs: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
                pairs.insert("endpoint".to_owned(), format!("http://{address}"));
                url.query_pairs_mut().clear().extend_pairs(pairs);
                "MASKLINE_OBJECTS"
            }
            Server::Catalog => {
                through(&mut url);
                // Else the members of a replica set would be asked past the detour.
                url.query_pairs_mut()
                    .append_pair("directConnection", "true");
                "MASKLINE_CATALOG"
            }
        };
        (name.to_owned(), url.into())
    }

    fn url(&self, server: Server) -> Url {
        let address = match server {
            Server::Broker => &self.broker,
            Server::Objects => &self.objects,
            Server::Catalog => &self.catalog,
        };
        address.parse().expect("a server's address is a URL")
    }

    /// Deliveries to this place's queues that were not the first of their message, as
    /// RabbitMQ counts them: it does so every few seconds.
    pub async fn redelivered(&self) -> u64 {
        let Some(servers) = &self.servers else {
            return 0;
        };
        let path = ["queues", &servers.vhost];
        let queues = servers.api(reqwest::Method::GET, &path, "").await;
        let queues = queues.bytes().await.expect("a whole body");
        let queues: Vec<serde_json::Value> = serde_json::from_slice(&queues).expect("a list");
        let counts = queues
            .iter()
            .map(|queue| &queue["message_stats"]["redeliver"]);
        counts.filter_map(serde_json::Value::as_u64).sum()
    }

    /// The catalog's own documents, where they are in MongoDB.
    pub async fn database(&self) -> Option<mongodb::Database> {
        if !self.catalog.starts_with("mongodb:") {
            return None;
        }
        let client = mongodb::Client::with_uri_str(&self.catalog).await;
        let client = client.expect("the test's own address");
        Some(client.default_database().expect("it names a database"))
    }

    /// Leaves nothing on the servers.
    pub async fn remove(self) {
        let Some(servers) = &self.servers else {
            return;
        };
        servers.remove_vhost().await;
        self.remove_stored().await;
    }

    /// The same but for the broker's part, where that is a broker of the test's own which
    /// ends with it.
    pub async fn remove_stored(self) {
        if self.servers.is_none() {
            return;
        }
        if let Some(database) = self.database().await {
            database.drop().await.expect("the database is dropped");
        }
        let objects = self.stores().await.objects;
        let keys = objects.list("", None, usize::MAX >> 1).await.expect("keys");
        let removing = stream::iter(&keys).for_each_concurrent(REMOVALS, |key| async {
            objects.delete(key).await.expect("it is ours");
        });
        removing.await;
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
        self.permit(self.management.username()).await;
    }

    async fn permit(&self, user: &str) {
        let everything = r#"{"configure":".*","write":".*","read":".*"}"#;
        let permissions = ["permissions", &self.vhost, user];
        self.api(reqwest::Method::PUT, &permissions, everything)
            .await;
    }

    async fn remove_vhost(&self) {
        if self.own_user {
            self.api(reqwest::Method::DELETE, &["users", &self.vhost], "")
                .await;
        }
        self.api(reqwest::Method::DELETE, &["vhosts", &self.vhost], "")
            .await;
    }

    async fn api(&self, method: reqwest::Method, path: &[&str], body: &str) -> reqwest::Response {
        let mut url = self.management.clone();
        let segments = url.path_segments_mut();
        segments
            .expect("an http address")
            .clear()
            .push("api")
            .extend(path);
        let request = reqwest::Client::new().request(method, url);
        let request = request.header("content-type", "application/json");
        let answer = request.body(body.to_owned()).send().await;
        let answer = answer.expect("RabbitMQ's management API answers");
        assert!(answer.status().is_success(), "{path:?}: {answer:?}");
        answer
    }
}
