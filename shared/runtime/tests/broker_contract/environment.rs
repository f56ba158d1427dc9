//! The broker of one test, and what all tests need.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt;
use maskline_messages::Queue;
use maskline_runtime::{
    Broker, Delivery, Envelope,
    broker::{self, Consumer, Headers},
};
use uuid::Uuid;

/// The queue that most tests send to, and the key that leads there.
pub const QUEUE: Queue = Queue::ScraperCandidates;
pub const KEY: &str = "candidate.found";

/// Tells a test's child process that it is one, and where the broker is.
pub const CHILD: &str = "MASKLINE_TEST_CHILD";

/// Long enough for the slowest machine. Only what hangs takes longer.
const HANGS: Duration = Duration::from_secs(90);

pub async fn within<T>(awaited: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(HANGS, awaited).await;
    result.expect("what is waited for does not come")
}

/// Looks until it finds what is expected, since a broker's counts are of a moment ago.
pub async fn becomes<T: PartialEq + Debug>(expected: T, look: impl AsyncFn() -> T) {
    let mut looked = look().await;
    let start = Instant::now();
    while looked != expected {
        assert!(start.elapsed() < HANGS, "{looked:?} is not {expected:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        looked = look().await;
    }
}

/// The broker of one test.
pub struct Environment {
    pub url: String,
    /// The module of the tests in such environments.
    pub module: &'static str,
    _folder: Option<tempfile::TempDir>,
    management: Option<Management>,
}

/// Runs a test and removes its environment, even if the test panics.
pub async fn run(environment: Environment, test: impl AsyncFnOnce(&Environment)) {
    let outcome = AssertUnwindSafe(test(&environment)).catch_unwind().await;
    if let Some(management) = &environment.management {
        management.delete_vhost().await;
    }
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl Environment {
    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            url: format!("embedded:{}", folder.path().join("queue.db").display()),
            module: "embedded",
            _folder: Some(folder),
            management: None,
        }
    }

    pub async fn rabbitmq() -> Self {
        if let Ok(url) = std::env::var(CHILD) {
            return Self {
                url,
                module: "rabbitmq",
                _folder: None,
                management: None,
            };
        }
        let variable = |name| {
            let value = std::env::var(name);
            value.unwrap_or_else(|_| panic!("{name} is not set: run tests/run"))
        };
        let server = variable("MASKLINE_TEST_RABBITMQ");
        let mut url = url::Url::parse(&server).expect("MASKLINE_TEST_RABBITMQ is an address");
        let management = Management {
            http: reqwest::Client::new(),
            server: variable("MASKLINE_TEST_RABBITMQ_HTTP"),
            vhost: format!("maskline-test-{}", Uuid::new_v4().simple()),
        };
        management.make_vhost(url.username()).await;
        url.set_path(&management.vhost);
        Self {
            url: url.into(),
            module: "rabbitmq",
            _folder: None,
            management: Some(management),
        }
    }

    pub async fn open(&self) -> Arc<dyn Broker> {
        self.open_with("").await
    }

    /// `query` is what follows the address, such as `?max_length=8`.
    pub async fn open_with(&self, query: &str) -> Arc<dyn Broker> {
        let opened = broker::open(&format!("{}{query}", self.url)).await;
        opened.expect("the broker opens")
    }

    pub fn management(&self) -> &Management {
        self.management.as_ref().expect("a RabbitMQ")
    }
}

/// RabbitMQ's management, within one virtual host.
pub struct Management {
    http: reqwest::Client,
    server: String,
    vhost: String,
}

impl Management {
    async fn ask(&self, method: reqwest::Method, path: &str, body: &str) -> String {
        let url = format!("{}/api/{path}", self.server.trim_end_matches('/'));
        let request = self.http.request(method, url).body(body.to_owned());
        let request = request.header("content-type", "application/json");
        let answer = request.send().await.expect("the management answers");
        let answer = answer.error_for_status().expect("it does as it is told");
        answer.text().await.expect("it answers in text")
    }

    async fn make_vhost(&self, user: &str) {
        let vhost = format!("vhosts/{}", self.vhost);
        self.ask(reqwest::Method::PUT, &vhost, "").await;
        let user = if user.is_empty() { "guest" } else { user };
        let permissions = format!("permissions/{}/{user}", self.vhost);
        let all = r#"{"configure":".*","write":".*","read":".*"}"#;
        self.ask(reqwest::Method::PUT, &permissions, all).await;
    }

    async fn delete_vhost(&self) {
        let vhost = format!("vhosts/{}", self.vhost);
        self.ask(reqwest::Method::DELETE, &vhost, "").await;
    }

    pub async fn delete_queue(&self, name: &str) {
        let queue = format!("queues/{}/{name}", self.vhost);
        self.ask(reqwest::Method::DELETE, &queue, "").await;
    }

    /// Removes what waits in it.
    pub async fn purge_queue(&self, name: &str) {
        let contents = format!("queues/{}/{name}/contents", self.vhost);
        self.ask(reqwest::Method::DELETE, &contents, "").await;
    }

    /// Closes every connection to the virtual host, of which there is at least one.
    pub async fn close_connections(&self) {
        let list = format!("vhosts/{}/connections", self.vhost);
        let names = within(async {
            loop {
                let listed = self.ask(reqwest::Method::GET, &list, "").await;
                let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
                let connections = listed.as_array().expect("a list").iter();
                let names = connections.filter_map(|connection| connection["name"].as_str());
                let names: Vec<String> = names.map(str::to_owned).collect();
                if !names.is_empty() {
                    return names;
                }
                // The management hears of a connection a moment after us.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        for name in names {
            let name = name.replace(' ', "%20").replace('>', "%3E");
            let url = format!("{}/api/connections/{name}", self.server);
            let closed = self.http.delete(url).send().await;
            closed.expect("the management answers");
        }
    }
}

/// The `n`th message of a test.
pub fn message(n: u32) -> Envelope {
    to(KEY, n)
}

pub fn to(key: &str, n: u32) -> Envelope {
    let headers = [
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("maskline-message-id", "0191"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Envelope {
        key: key.to_owned(),
        headers: Headers::from(headers),
        body: Bytes::from(n.to_string()),
    }
}

pub fn number(envelope: &Envelope) -> u32 {
    let text = std::str::from_utf8(&envelope.body).expect("a number");
    text.parse().expect("a number")
}

pub async fn publish(broker: &dyn Broker, numbers: impl IntoIterator<Item = u32>) {
    let envelopes = numbers.into_iter().map(message).collect();
    broker.publish_all(envelopes).await.expect("all are taken");
}

pub async fn consume(broker: &dyn Broker, prefetch: u16) -> Box<dyn Consumer> {
    let consumer = broker.consume(QUEUE, prefetch).await;
    consumer.expect("it can be taken from")
}

pub async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    within(consumer.next()).await.expect("not closed")
}

/// The numbers of the next `count` deliveries, which are acknowledged.
pub async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<u32> {
    let mut numbers = vec![];
    for _ in 0..count {
        let delivery = next(consumer).await;
        numbers.push(number(&delivery.envelope));
        delivery.settle.ack().await.expect("it is ours");
    }
    numbers
}

pub fn set(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
    numbers.into_iter().collect()
}
