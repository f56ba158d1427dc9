//! The broker, the object store and the catalog of one test.

use std::{collections::BTreeMap, net::SocketAddr, panic::AssertUnwindSafe, path::Path, sync::Arc};

use futures::{FutureExt, StreamExt, stream};
use maskline_runtime::{Broker, broker};
use maskline_storage::{Catalog, ObjectStore, Stores, catalog, objects};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use crate::{
    collector::Collector,
    rabbitmq::{Management, VirtualHost},
};

/// The addresses of one test's broker, object store and catalog, and the variables of the
/// processes that it starts. No other test sees what is stored there.
pub struct Environment {
    broker: String,
    objects: String,
    catalog: String,
    /// Variables beside those of the addresses.
    variables: Vec<(String, String)>,
    folder: TempDir,
    vhost: Option<VirtualHost>,
}

/// A server that services talk to.
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

/// How many objects are removed at the same time.
const REMOVALS: usize = 16;

impl Environment {
    /// Everything is in one temporary folder: the embedded queue, a folder of objects and
    /// SQLite.
    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // This folder is not there yet: whoever opens a file in it makes it.
        let data = folder.path().join("data");
        let at = |name: &str| data.join(name).display().to_string();
        Self {
            broker: format!("embedded:{}", at("queue.db")),
            objects: format!("file:{}", at("objects")),
            catalog: format!("sqlite:{}", at("catalog.db")),
            variables: vec![],
            folder,
            vhost: None,
        }
    }

    /// Everything is on the test servers: RabbitMQ, S3 and MongoDB.
    pub async fn servers() -> Self {
        let environment = Self::embedded().on_rabbitmq().await;
        environment.on_s3().on_mongodb()
    }

    /// Like [`servers`](Self::servers), with another RabbitMQ and its management API.
    pub async fn servers_with_rabbitmq(broker: Url, management: Url) -> Self {
        let environment = Self::embedded();
        let environment = environment.on_rabbitmq_at(broker, management).await;
        environment.on_s3().on_mongodb()
    }

    /// The broker is a new virtual host of the test server's RabbitMQ.
    pub async fn on_rabbitmq(self) -> Self {
        let broker = server("MASKLINE_TEST_RABBITMQ");
        let management = server("MASKLINE_TEST_RABBITMQ_HTTP");
        self.on_rabbitmq_at(broker, management).await
    }

    async fn on_rabbitmq_at(mut self, mut broker: Url, management: Url) -> Self {
        let management = Management::at(management);
        let vhost = VirtualHost::create(management, broker.username()).await;
        broker.set_path(vhost.name());
        self.broker = broker.into();
        self.vhost = Some(vhost);
        self
    }

    /// The objects have a new prefix in the test server's S3.
    pub fn on_s3(mut self) -> Self {
        let mut objects = server("MASKLINE_TEST_S3");
        objects.set_path(&new_name());
        self.objects = objects.into();
        self
    }

    /// The catalog is a new database of the test server's MongoDB.
    pub fn on_mongodb(mut self) -> Self {
        let mut catalog = server("MASKLINE_TEST_MONGODB");
        catalog.set_path(&new_name());
        self.catalog = catalog.into();
        self
    }

    /// From now on objects lie in this folder.
    pub fn keep_objects_in(&mut self, folder: &Path) {
        self.objects = format!("file:{}", folder.display());
    }

    /// From now on the catalog is this file.
    pub fn keep_catalog_in(&mut self, file: &Path) {
        self.catalog = format!("sqlite:{}", file.display());
    }

    /// From now on each queue holds at most `limit` messages.
    pub fn limit_queues(&mut self, limit: u64) {
        self.broker += &format!("?max_length={limit}");
    }

    /// From now on processes log in to RabbitMQ as a new user with this password.
    pub async fn log_in_with(&mut self, password: &str) {
        let mut broker = self.url(Server::Broker);
        let vhost = self.vhost.as_mut().expect("the broker is RabbitMQ");
        vhost.create_user(password).await;
        let set = broker.set_username(vhost.name());
        set.and_then(|()| broker.set_password(Some(password)))
            .expect("the address has a host");
        self.broker = broker.into();
    }

    /// From now on processes send their spans to this collector.
    pub fn trace_to(&mut self, collector: &Collector) {
        self.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint());
        self.set("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    }

    /// From now on processes have this variable, too.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// A folder of this environment, in which a test may put files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn broker_address(&self) -> &str {
        &self.broker
    }

    pub fn objects_address(&self) -> &str {
        &self.objects
    }

    pub fn catalog_address(&self) -> &str {
        &self.catalog
    }

    /// The variables with which a service or the command starts.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut variables: Vec<_> = [
            ("MASKLINE_BROKER", self.broker.as_str()),
            ("MASKLINE_OBJECTS", &self.objects),
            ("MASKLINE_CATALOG", &self.catalog),
            // The web site of a test is on this machine, and may be asked often.
            ("MASKLINE_ALLOW_PRIVATE_HOSTS", "true"),
            ("MASKLINE_PER_HOST", "16"),
            ("MASKLINE_PER_HOST_RATE", "10000"),
            ("MASKLINE_RETRY_BASE", "0.05"),
            ("MASKLINE_DEVICE", "cpu"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        variables.extend(self.variables.clone());
        variables
    }

    /// A new connection to the broker.
    pub async fn broker(&self) -> Arc<dyn Broker> {
        self.broker_with("").await
    }

    /// Like [`broker`](Self::broker), with a query such as `?max_length=8` in the address.
    pub async fn broker_with(&self, query: &str) -> Arc<dyn Broker> {
        let opened = broker::open(&format!("{}{query}", self.broker)).await;
        opened.expect("the broker opens")
    }

    /// New connections to the object store and the catalog.
    pub async fn stores(&self) -> Stores {
        Stores {
            objects: self.objects().await,
            catalog: self.catalog().await,
        }
    }

    /// A new connection to the catalog.
    pub async fn catalog(&self) -> Arc<dyn Catalog> {
        let catalog = catalog::open(&self.catalog).await;
        catalog.expect("the catalog opens")
    }

    /// A new connection to the object store.
    pub async fn objects(&self) -> Arc<dyn ObjectStore> {
        let objects = objects::open(&self.objects).await;
        objects.expect("the object store opens")
    }

    /// The virtual host that this environment's broker is. Panics where it is not RabbitMQ.
    pub fn vhost(&self) -> &VirtualHost {
        self.vhost.as_ref().expect("the broker is RabbitMQ")
    }

    /// How many deliveries from RabbitMQ were not the first of their message. It is 0 for
    /// another broker, which does not count them.
    pub async fn redelivered(&self) -> u64 {
        match &self.vhost {
            Some(vhost) => vhost.redelivered().await,
            None => 0,
        }
    }

    /// The database of the catalog, where that is MongoDB.
    pub async fn database(&self) -> Option<mongodb::Database> {
        if !self.catalog.starts_with("mongodb:") {
            return None;
        }
        let client = mongodb::Client::with_uri_str(&self.catalog).await;
        let client = client.expect("the address of a test's own database is right");
        let database = client.default_database();
        Some(database.expect("the address names a database"))
    }

    /// The host and the port of a server, as `HOST:PORT`.
    pub fn host_and_port(&self, server: Server) -> String {
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

    /// The variable that leads a process to a server through the proxy at `proxy`.
    pub fn variable_through(&self, proxy: SocketAddr, server: Server) -> (String, String) {
        let mut url = self.url(server);
        let through = |url: &mut Url| {
            let host = url.set_host(Some(&proxy.ip().to_string()));
            host.expect("an IP address is a host");
            url.set_port(Some(proxy.port()))
                .expect("the address has a host");
        };
        let name = match server {
            Server::Broker => {
                through(&mut url);
                "MASKLINE_BROKER"
            }
            Server::Objects => {
                let mut pairs: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
                pairs.insert("endpoint".to_owned(), format!("http://{proxy}"));
                url.query_pairs_mut().clear().extend_pairs(pairs);
                "MASKLINE_OBJECTS"
            }
            Server::Catalog => {
                through(&mut url);
                // Without this the client would ask the members of a replica set directly.
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
        address.parse().expect("the address of a server is a URL")
    }

    /// Removes everything that this environment left on servers.
    pub async fn remove(&self) {
        if let Some(vhost) = &self.vhost {
            vhost.delete().await;
        }
        self.remove_stored().await;
    }

    /// Like [`remove`](Self::remove), without the broker's part. It suits a broker that
    /// the test itself started and that ends with it.
    pub async fn remove_stored(&self) {
        if let Some(database) = self.database().await {
            database.drop().await.expect("the database is dropped");
        }
        if !self.objects.starts_with("s3:") {
            return;
        }
        let objects = self.objects().await;
        let keys = objects.list("", None, usize::MAX >> 1).await.expect("keys");
        let removing = stream::iter(&keys).for_each_concurrent(REMOVALS, |key| async {
            objects
                .delete(key)
                .await
                .expect("the object can be removed");
        });
        removing.await;
    }

    /// Runs a test in this environment, and removes what it left on servers even when it
    /// panics.
    pub async fn run_test(self, test: impl AsyncFnOnce(&Self)) {
        let outcome = AssertUnwindSafe(test(&self)).catch_unwind().await;
        self.remove().await;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }
}

fn new_name() -> String {
    format!("maskline-test-{}", Uuid::new_v4().simple())
}

/// The address of a test server, from the variable that `tests/servers` sets.
pub fn server(variable: &str) -> Url {
    let address = std::env::var(variable);
    let address = address.unwrap_or_else(|_| panic!("{variable} is not set: run tests/run"));
    let parsed = address.parse();
    parsed.unwrap_or_else(|error| panic!("{variable} is not an address: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(broker: &str, objects: &str, catalog: &str) -> Environment {
        Environment {
            broker: broker.to_owned(),
            objects: objects.to_owned(),
            catalog: catalog.to_owned(),
            ..Environment::embedded()
        }
    }

    fn on_servers() -> Environment {
        at(
            "amqp://me:secret@rabbitmq.example/test",
            "s3://bucket/test?endpoint=http://s3.example:9000",
            "mongodb://mongodb.example:27018/test",
        )
    }

    #[test]
    fn servers_have_a_host_and_a_port_even_where_the_address_names_none() {
        let environment = on_servers();
        let expected = [
            "rabbitmq.example:5672",
            "s3.example:9000",
            "mongodb.example:27018",
        ];
        assert_eq!(
            Server::ALL.map(|server| environment.host_and_port(server)),
            expected
        );
    }

    #[test]
    fn a_variable_leads_through_a_proxy_and_keeps_the_rest_of_the_address() {
        let environment = on_servers();
        let proxy = ([127, 0, 0, 1], 7).into();
        let variables = Server::ALL.map(|server| environment.variable_through(proxy, server));
        let expected = [
            ("MASKLINE_BROKER", "amqp://me:secret@127.0.0.1:7/test"),
            (
                "MASKLINE_OBJECTS",
                "s3://bucket/test?endpoint=http%3A%2F%2F127.0.0.1%3A7",
            ),
            (
                "MASKLINE_CATALOG",
                "mongodb://127.0.0.1:7/test?directConnection=true",
            ),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variables, expected);
    }

    #[tokio::test]
    async fn an_embedded_environment_opens_where_no_folder_was_yet() {
        let environment = Environment::embedded();
        environment.broker().await.close().await;
        let stores = environment.stores().await;
        stores.catalog.ping().await.expect("the catalog answers");
        stores.objects.ping().await.expect("the objects answer");
        environment.remove().await;
    }
}
