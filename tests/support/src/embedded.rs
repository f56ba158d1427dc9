//! An embedded environment whose broker and stores are open.

use std::sync::Arc;

use maskline_messages::{Message, Queue};
use maskline_runtime::{Broker, Sender, WorkContext};
use maskline_storage::{Catalog, ObjectStore, Stores};
use tokio_util::sync::CancellationToken;

use crate::{environment::Environment, wait::within};

/// The embedded queue, a folder of objects and a SQLite catalog, which a test calls
/// directly. They are new, and they are removed when this value is dropped.
pub struct Embedded {
    pub broker: Arc<dyn Broker>,
    pub objects: Arc<dyn ObjectStore>,
    pub catalog: Arc<dyn Catalog>,
    _environment: Environment,
}

impl Embedded {
    pub async fn open() -> Self {
        let environment = Environment::embedded();
        Self {
            broker: environment.broker().await,
            objects: environment.objects().await,
            catalog: environment.catalog().await,
            _environment: environment,
        }
    }

    /// The object store and the catalog.
    pub fn stores(&self) -> Stores {
        Stores {
            objects: self.objects.clone(),
            catalog: self.catalog.clone(),
        }
    }

    /// What the runner gives to a worker of the process `instance`. The process is not
    /// asked to stop before the test cancels `stopping`.
    pub fn context(&self, instance: &str) -> WorkContext {
        WorkContext {
            instance: instance.to_owned(),
            stopping: CancellationToken::new(),
            sender: Sender::new(self.broker.clone()),
        }
    }

    /// Takes and acknowledges the next message of a queue.
    pub async fn take(&self, queue: Queue) -> Message {
        let consumer = self.broker.consume(queue, 1).await;
        let mut consumer = consumer.expect("the queue can be consumed");
        let delivery = within("a message", consumer.next()).await;
        let delivery = delivery.expect("nobody closes the consumer");
        let message = Message::from_json(&delivery.envelope.body);
        let acked = delivery.settle.ack().await;
        acked.expect("the delivery can be acknowledged");
        consumer.close().await;
        message.expect("the body is a message")
    }

    /// The number of messages in a queue that can be taken now.
    pub async fn waiting(&self, queue: Queue) -> u64 {
        let depths = self.broker.depths().await;
        depths.expect("the broker answers")[queue.name()].ready
    }
}
