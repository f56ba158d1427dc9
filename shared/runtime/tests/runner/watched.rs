//! A broker around the embedded one that reports what happens, in order, and can be made to
//! fail.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use maskline_messages::Queue;
use maskline_runtime::{
    Broker, BrokerError, DeadLetter, DeadLetterId, Delivery, Envelope, Settle,
    broker::{BrokerAdmin, Consume, Consumer, DeadLetterReason, Depth, Publish},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Something that the broker made durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Published(String),
    Acked,
    Retried(Duration),
    Postponed(Duration),
    DeadLettered(DeadLetterReason),
    Released,
}

pub struct Watched {
    inner: Arc<dyn Broker>,
    events: UnboundedSender<Event>,
    failures: Mutex<VecDeque<BrokerError>>,
}

impl Watched {
    pub fn around(inner: Arc<dyn Broker>) -> (Arc<Self>, UnboundedReceiver<Event>) {
        let (events, seen) = unbounded_channel();
        let failures = Mutex::default();
        let watched = Self {
            inner,
            events,
            failures,
        };
        (Arc::new(watched), seen)
    }

    /// Makes the next publishes fail with these errors, one each.
    pub fn fail_publishing(&self, failures: impl IntoIterator<Item = BrokerError>) {
        self.failures.lock().expect("not poisoned").extend(failures);
    }

    fn next_failure(&self) -> Result<(), BrokerError> {
        let failure = self.failures.lock().expect("not poisoned").pop_front();
        failure.map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Publish for Watched {
    fn system(&self) -> &'static str {
        self.inner.system()
    }

    fn server(&self) -> Option<(String, u16)> {
        self.inner.server()
    }

    async fn publish(&self, envelope: Envelope) -> Result<(), BrokerError> {
        self.publish_all(vec![envelope]).await
    }

    async fn publish_all(&self, envelopes: Vec<Envelope>) -> Result<(), BrokerError> {
        self.next_failure()?;
        let keys: Vec<_> = envelopes.iter().map(|e| e.key.clone()).collect();
        self.inner.publish_all(envelopes).await?;
        for key in keys {
            let _ = self.events.send(Event::Published(key));
        }
        Ok(())
    }
}

#[async_trait]
impl Consume for Watched {
    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(WatchedConsumer {
            inner: self.inner.consume(queue, prefetch).await?,
            events: self.events.clone(),
        }))
    }
}

#[async_trait]
impl BrokerAdmin for Watched {
    async fn depths(&self) -> Result<BTreeMap<String, Depth>, BrokerError> {
        self.inner.depths().await
    }

    async fn lengths(&self) -> Result<BTreeMap<String, u64>, BrokerError> {
        self.inner.lengths().await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BrokerError> {
        self.inner.dead_letters(limit).await
    }

    async fn replay(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError> {
        self.inner.replay(ids).await
    }

    async fn drop_dead_letters(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError> {
        self.inner.drop_dead_letters(ids).await
    }
}

#[async_trait]
impl Broker for Watched {
    async fn ping(&self) -> Result<(), BrokerError> {
        self.inner.ping().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct WatchedConsumer {
    inner: Box<dyn Consumer>,
    events: UnboundedSender<Event>,
}

#[async_trait]
impl Consumer for WatchedConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.inner.next().await?;
        let settle = Box::new(WatchedSettle {
            inner: delivery.settle,
            events: self.events.clone(),
        });
        Some(Delivery { settle, ..delivery })
    }

    async fn close(&mut self) {
        self.inner.close().await;
    }
}

struct WatchedSettle {
    inner: Box<dyn Settle>,
    events: UnboundedSender<Event>,
}

impl WatchedSettle {
    fn report(
        events: &UnboundedSender<Event>,
        settled: Result<(), BrokerError>,
        event: Event,
    ) -> Result<(), BrokerError> {
        settled.inspect(|()| {
            let _ = events.send(event);
        })
    }
}

#[async_trait]
impl Settle for WatchedSettle {
    async fn ack(self: Box<Self>) -> Result<(), BrokerError> {
        Self::report(&self.events, self.inner.ack().await, Event::Acked)
    }

    async fn retry(self: Box<Self>, after: Duration, error: &str) -> Result<(), BrokerError> {
        let settled = self.inner.retry(after, error).await;
        Self::report(&self.events, settled, Event::Retried(after))
    }

    async fn postpone(self: Box<Self>, after: Duration, why: &str) -> Result<(), BrokerError> {
        let settled = self.inner.postpone(after, why).await;
        Self::report(&self.events, settled, Event::Postponed(after))
    }

    async fn dead_letter(self: Box<Self>, reason: &DeadLetterReason) -> Result<(), BrokerError> {
        let settled = self.inner.dead_letter(reason).await;
        Self::report(&self.events, settled, Event::DeadLettered(reason.clone()))
    }

    async fn release(self: Box<Self>) -> Result<(), BrokerError> {
        Self::report(&self.events, self.inner.release().await, Event::Released)
    }
}
