//! A client of RabbitMQ's management API.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::sleep;
use url::Url;
use uuid::Uuid;

use crate::wait::within_limit;

/// How long the management API may take to list a connection.
const LISTED: Duration = Duration::from_secs(90);

/// The management API of one RabbitMQ node.
#[derive(Clone)]
pub struct Management {
    http: Client,
    /// With the user and the password.
    address: Url,
}

impl Management {
    /// The API at an address such as `http://guest:guest@127.0.0.1:15672`.
    pub fn at(address: Url) -> Self {
        Self {
            http: Client::new(),
            address,
        }
    }

    /// What the API answers to `GET /api/PATH`.
    pub async fn get(&self, path: &[&str]) -> Value {
        let body = self.request(Method::GET, path, "").await;
        serde_json::from_slice(&body).expect("the management API answers with JSON")
    }

    /// The list that the API answers to `GET /api/PATH`.
    pub async fn list(&self, path: &[&str]) -> Vec<Value> {
        match self.get(path).await {
            Value::Array(list) => list,
            other => panic!("{path:?} is not a list: {other}"),
        }
    }

    async fn put(&self, path: &[&str], body: Value) {
        self.request(Method::PUT, path, &body.to_string()).await;
    }

    async fn delete(&self, path: &[&str]) {
        self.request(Method::DELETE, path, "").await;
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.address.clone();
        let segments = url.path_segments_mut();
        let mut segments = segments.expect("the management API has an http address");
        segments.clear().push("api").extend(path);
        drop(segments);
        url
    }

    /// Sends a request, which must succeed, and returns the answer's body.
    async fn request(&self, method: Method, path: &[&str], body: &str) -> bytes::Bytes {
        let request = self.http.request(method, self.url(path));
        let request = request.header("content-type", "application/json");
        let answer = request.body(body.to_owned()).send().await;
        let answer = answer.expect("RabbitMQ's management API answers");
        assert!(answer.status().is_success(), "{path:?}: {answer:?}");
        answer.bytes().await.expect("the answer has a whole body")
    }
}

/// A virtual host that belongs to one test.
pub struct VirtualHost {
    management: Management,
    name: String,
    /// `true` if there is a user with the virtual host's name.
    has_user: bool,
}

impl VirtualHost {
    /// Creates a virtual host with a new name, which `user` may use.
    pub async fn create(management: Management, user: &str) -> Self {
        let host = Self {
            management,
            name: format!("maskline-test-{}", Uuid::new_v4().simple()),
            has_user: false,
        };
        host.management
            .put(&["vhosts", &host.name], json!({}))
            .await;
        host.permit(if user.is_empty() { "guest" } else { user })
            .await;
        host
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Creates a user of this virtual host alone, whose name is the virtual host's.
    pub async fn create_user(&mut self, password: &str) {
        let account = json!({ "password": password, "tags": "" });
        self.management.put(&["users", &self.name], account).await;
        self.has_user = true;
        self.permit(&self.name).await;
    }

    async fn permit(&self, user: &str) {
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        let path = ["permissions", &self.name, user];
        self.management.put(&path, everything).await;
    }

    /// Deletes the virtual host with its queues, and the user that was created for it.
    pub async fn delete(&self) {
        if self.has_user {
            self.management.delete(&["users", &self.name]).await;
        }
        self.management.delete(&["vhosts", &self.name]).await;
    }

    /// The queues, as RabbitMQ counted them a few seconds ago.
    pub async fn queues(&self) -> Vec<Value> {
        self.management.list(&["queues", &self.name]).await
    }

    /// How many deliveries of these queues were not the first of their message.
    pub async fn redelivered(&self) -> u64 {
        let queues = self.queues().await;
        let counts = queues
            .iter()
            .map(|queue| &queue["message_stats"]["redeliver"]);
        counts.filter_map(Value::as_u64).sum()
    }

    pub async fn delete_queue(&self, queue: &str) {
        self.management.delete(&["queues", &self.name, queue]).await;
    }

    /// Removes the messages that wait in a queue.
    pub async fn purge_queue(&self, queue: &str) {
        let contents = ["queues", &self.name, queue, "contents"];
        self.management.delete(&contents).await;
    }

    /// Closes every connection to the virtual host. There must be at least one.
    pub async fn close_connections(&self) {
        let path = ["vhosts", &self.name, "connections"];
        let listed = async {
            loop {
                let connections = self.management.list(&path).await;
                if !connections.is_empty() {
                    return connections;
                }
                // The management API learns of a connection a moment after it is made.
                sleep(Duration::from_millis(50)).await;
            }
        };
        for connection in within_limit(LISTED, "a connection in the list", listed).await {
            let name = connection["name"]
                .as_str()
                .expect("a connection has a name");
            let url = self.management.url(&["connections", name]);
            // A connection that has ended in the meantime answers 404.
            let closed = self.management.http.delete(url).send().await;
            closed.expect("RabbitMQ's management API answers");
        }
    }
}
