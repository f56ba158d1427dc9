//! Consuming and settling.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::join_all};
use lapin::{
    Acker, Channel,
    options::{BasicAckOptions, BasicCancelOptions, BasicNackOptions, BasicQosOptions},
};
use maskline_foundation::Backoff;
use maskline_messages::Queue;
use tokio::runtime::Handle;

use super::{
    delays,
    ladder::Wait,
    link::{Link, RECONNECT},
    publish::send,
    received::Received,
    returning::{Found, Returning},
    session::Session,
};
use crate::broker::{
    dead_letter::DeadLetterReason,
    delivery::{Consumer, Delivery, Settle},
    error::BrokerError,
};

const REQUEUE: BasicNackOptions = BasicNackOptions {
    multiple: false,
    requeue: true,
};

/// A consumer that outlives connections.
pub struct Subscription {
    link: Arc<Link>,
    queue: Queue,
    prefetch: u16,
    consumer: Option<ChannelConsumer>,
    /// What brings this queue's delayed messages back to it.
    returning: Returning,
    backoff: Backoff,
    closed: bool,
}

/// A consumer on one channel of one connection.
struct ChannelConsumer {
    source: Arc<DeliveryChannel>,
    deliveries: lapin::Consumer,
}

/// The channel that deliveries came on, and must be settled on. It is closed when the last
/// of them is gone.
struct DeliveryChannel {
    session: Arc<Session>,
    channel: Channel,
}

impl Subscription {
    pub async fn open(link: Arc<Link>, queue: Queue, prefetch: u16) -> Result<Self, BrokerError> {
        let consumer = ChannelConsumer::open(&link, queue, prefetch).await?;
        let returning = Returning::start(&link, queue);
        Ok(Self {
            link,
            queue,
            prefetch,
            consumer: Some(consumer),
            returning,
            backoff: RECONNECT,
            closed: false,
        })
    }

    /// The next delivery on this connection.
    async fn take(&mut self) -> Result<Delivery, BrokerError> {
        if self.consumer.is_none() {
            let consumer = ChannelConsumer::open(&self.link, self.queue, self.prefetch).await?;
            self.consumer = Some(consumer);
        }
        let consumer = self.consumer.as_mut().expect("just made");
        let lost = match consumer.deliveries.next().await {
            Some(Ok(delivery)) => {
                return Ok(self::delivery(
                    delivery,
                    self.queue,
                    &self.link,
                    &consumer.source,
                    self.returning.found(),
                ));
            }
            Some(Err(error)) => consumer.source.session.lose(error),
            None => consumer.source.session.lose("RabbitMQ ended a consumer"),
        };
        self.consumer = None;
        Err(lost)
    }
}

#[async_trait]
impl Consumer for Subscription {
    async fn next(&mut self) -> Option<Delivery> {
        let link = self.link.clone();
        while !self.closed && !link.is_closed() {
            let taken = tokio::select! {
                biased;
                taken = self.take() => taken,
                () = link.closed() => break,
            };
            match taken {
                Ok(delivery) => {
                    self.backoff.reset();
                    return Some(delivery);
                }
                Err(error) => {
                    let wait = self.backoff.next_wait();
                    let error = format!("{error:#}");
                    tracing::debug!(error, queue = %self.queue, ?wait, "consuming again");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = link.closed() => break,
                    }
                }
            }
        }
        None
    }

    async fn close(&mut self) {
        self.closed = true;
        if let Some(consumer) = self.consumer.take() {
            consumer.close().await;
        }
        self.returning.close().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Without a runtime the connection has ended as well.
        if let (Some(consumer), Ok(runtime)) = (self.consumer.take(), Handle::try_current()) {
            runtime.spawn(consumer.close());
        }
    }
}

impl ChannelConsumer {
    async fn open(link: &Link, queue: Queue, prefetch: u16) -> Result<Self, BrokerError> {
        let session = link.session().await?;
        let channel = session.channel().await?;
        let opening = async {
            // Zero would mean no bound.
            let prefetch = prefetch.max(1);
            channel
                .basic_qos(prefetch, BasicQosOptions::default())
                .await?;
            let (name, tag) = (queue.name().into(), "".into());
            channel
                .basic_consume(name, tag, Default::default(), Default::default())
                .await
        };
        let deliveries = session.answer(opening).await?;
        let source = Arc::new(DeliveryChannel { session, channel });
        Ok(Self { source, deliveries })
    }

    /// Takes no more, and gives back what was delivered and not returned yet.
    async fn close(mut self) {
        let DeliveryChannel { session, channel } = &*self.source;
        let cancel = channel.basic_cancel(self.deliveries.tag(), BasicCancelOptions::default());
        let cancelled = session.answer(cancel).await;
        let mut unreturned = vec![];
        while let Some(Some(Ok(delivery))) = self.deliveries.next().now_or_never() {
            unreturned.push(delivery.acker);
        }
        if cancelled.is_ok() {
            join_all(unreturned.iter().map(|acker| acker.nack(REQUEUE))).await;
        }
    }
}

/// The delivery that the runner gets.
fn delivery(
    delivery: lapin::message::Delivery,
    queue: Queue,
    link: &Arc<Link>,
    source: &Arc<DeliveryChannel>,
    delayed: Found,
) -> Delivery {
    let message = Received::new(delivery.routing_key, delivery.properties, delivery.data);
    let redelivered = message.redelivered().max(delivery.redelivered.into());
    Delivery {
        queue,
        envelope: message.envelope(),
        attempts: message.attempts(),
        redelivered,
        came_before: redelivered > 0 || message.was_delayed(),
        settle: Box::new(Claim {
            message,
            acker: delivery.acker,
            queue,
            link: link.clone(),
            source: source.clone(),
            delayed,
        }),
    }
}

/// A message in hand, which can be settled.
struct Claim {
    message: Received,
    acker: Acker,
    queue: Queue,
    link: Arc<Link>,
    source: Arc<DeliveryChannel>,
    delayed: Found,
}

impl Claim {
    /// Settles the message. RabbitMQ does not confirm that: if the connection ends in this
    /// moment, the message comes again although this was `Ok`.
    async fn settle(
        &self,
        settling: impl Future<Output = lapin::Result<bool>>,
    ) -> Result<(), BrokerError> {
        match self.source.session.answer(settling).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(BrokerError::Stale),
        }
    }

    fn check_ours(&self) -> Result<(), BrokerError> {
        if self.acker.usable() && !self.source.session.is_lost() {
            Ok(())
        } else {
            Err(BrokerError::Stale)
        }
    }

    /// The message is published to a delay queue, and then acknowledged. In between it exists
    /// twice, but it is never lost. While no delay queue takes it, the delivery stays in hand: if it
    /// were given back, it would be handled again at once.
    async fn delay(&self, after: Duration, attempts: u32, error: &str) -> Result<(), BrokerError> {
        let wait = Wait::from(after);
        let delayed = |name: &str| self.message.delayed(name, wait, attempts, error);
        let is_ours = || self.check_ours();
        let rung = delays::put(&self.link, self.queue, wait, delayed, is_ours).await?;
        // Nobody listens any more if the subscription was closed: then another process takes it.
        let _ = self.delayed.send(rung);
        self.forget().await
    }

    async fn forget(&self) -> Result<(), BrokerError> {
        self.settle(self.acker.ack(BasicAckOptions::default()))
            .await
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The first poll sends the request. Nobody needs the answer.
        if self.acker.usable() {
            let _ = self.acker.nack(REQUEUE).now_or_never();
        }
    }
}

#[async_trait]
impl Settle for Claim {
    async fn ack(self: Box<Self>) -> Result<(), BrokerError> {
        self.forget().await
    }

    async fn retry(self: Box<Self>, after: Duration, error: &str) -> Result<(), BrokerError> {
        self.delay(after, self.message.tried(), error).await
    }

    async fn postpone(self: Box<Self>, after: Duration, why: &str) -> Result<(), BrokerError> {
        self.delay(after, self.message.attempts(), why).await
    }

    async fn dead_letter(self: Box<Self>, reason: &DeadLetterReason) -> Result<(), BrokerError> {
        self.check_ours()?;
        let outgoing = self.message.dead_lettered(self.queue, reason);
        send(&self.link, vec![outgoing]).await?;
        self.forget().await
    }

    async fn release(self: Box<Self>) -> Result<(), BrokerError> {
        self.settle(self.acker.nack(REQUEUE)).await
    }
}
