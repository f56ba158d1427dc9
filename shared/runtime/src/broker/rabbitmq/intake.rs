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
    link::{Link, RECONNECT},
    publish::send,
    session::Session,
    wire::Received,
};
use crate::broker::{BrokerError, Consumer, Delivery, Settle, Why};

const REQUEUE: BasicNackOptions = BasicNackOptions {
    multiple: false,
    requeue: true,
};

/// A consumer that outlives connections.
pub struct Subscription {
    link: Arc<Link>,
    queue: Queue,
    prefetch: u16,
    intake: Option<Intake>,
    backoff: Backoff,
    closed: bool,
}

/// A consumer on one connection.
struct Intake {
    line: Arc<Line>,
    deliveries: lapin::Consumer,
}

/// The channel that deliveries came on, and must be settled on. Closed with the
/// last of them.
struct Line {
    session: Arc<Session>,
    channel: Channel,
}

impl Subscription {
    pub async fn open(link: Arc<Link>, queue: Queue, prefetch: u16) -> Result<Self, BrokerError> {
        let intake = Intake::open(&link, queue, prefetch).await?;
        Ok(Self {
            link,
            queue,
            prefetch,
            intake: Some(intake),
            backoff: RECONNECT,
            closed: false,
        })
    }

    /// The next delivery on this connection.
    async fn take(&mut self) -> Result<Delivery, BrokerError> {
        if self.intake.is_none() {
            let intake = Intake::open(&self.link, self.queue, self.prefetch).await?;
            self.intake = Some(intake);
        }
        let intake = self.intake.as_mut().expect("just made");
        let lost = match intake.deliveries.next().await {
            Some(Ok(delivery)) => {
                return Ok(in_hand(delivery, self.queue, &self.link, &intake.line));
            }
            Some(Err(error)) => intake.line.session.lose(error),
            None => intake.line.session.lose("RabbitMQ ended a consumer"),
        };
        self.intake = None;
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
                    tracing::debug!(%error, queue = %self.queue, ?wait, "consuming again");
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
        if let Some(intake) = self.intake.take() {
            intake.close().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Without a runtime the connection has ended, too.
        if let (Some(intake), Ok(runtime)) = (self.intake.take(), Handle::try_current()) {
            runtime.spawn(intake.close());
        }
    }
}

impl Intake {
    async fn open(link: &Link, queue: Queue, prefetch: u16) -> Result<Self, BrokerError> {
        let session = link.session().await?;
        let channel = session.channel().await?;
        let opening = async {
            // Zero would be without a bound.
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
        let line = Arc::new(Line { session, channel });
        Ok(Self { line, deliveries })
    }

    /// Takes no more, and gives back what came and was not asked for.
    async fn close(mut self) {
        let Line { session, channel } = &*self.line;
        let cancel = channel.basic_cancel(self.deliveries.tag(), BasicCancelOptions::default());
        let cancelled = session.answer(cancel).await;
        let mut unasked = vec![];
        while let Some(Some(Ok(delivery))) = self.deliveries.next().now_or_never() {
            unasked.push(delivery.acker);
        }
        if cancelled.is_ok() {
            join_all(unasked.iter().map(|acker| acker.nack(REQUEUE))).await;
        }
    }
}

fn in_hand(
    delivery: lapin::message::Delivery,
    queue: Queue,
    link: &Arc<Link>,
    line: &Arc<Line>,
) -> Delivery {
    let message = Received::new(delivery.routing_key, delivery.properties, delivery.data);
    Delivery {
        queue,
        envelope: message.envelope(),
        attempts: message.attempts(),
        redelivered: message.redelivered().max(delivery.redelivered.into()),
        settle: Box::new(Claim {
            message,
            acker: delivery.acker,
            queue,
            link: link.clone(),
            line: line.clone(),
        }),
    }
}

/// A message in hand.
struct Claim {
    message: Received,
    acker: Acker,
    queue: Queue,
    link: Arc<Link>,
    line: Arc<Line>,
}

impl Claim {
    /// RabbitMQ does not confirm it: should the connection end in this moment,
    /// the message comes again although this was `Ok`.
    async fn settle(
        &self,
        settling: impl Future<Output = lapin::Result<bool>>,
    ) -> Result<(), BrokerError> {
        match self.line.session.answer(settling).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(BrokerError::Stale),
        }
    }

    fn check_ours(&self) -> Result<(), BrokerError> {
        if self.acker.usable() && !self.line.session.is_lost() {
            Ok(())
        } else {
            Err(BrokerError::Stale)
        }
    }

    async fn forget(&self) -> Result<(), BrokerError> {
        self.settle(self.acker.ack(BasicAckOptions::default()))
            .await
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Asked at the first poll; the answer is of no interest.
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

    /// Published where it waits, then acknowledged: in between it is there twice,
    /// never not at all. Where no room is to wait it is held until there is: given
    /// back, it would be handled again at once.
    async fn retry(self: Box<Self>, after: Duration, error: &str) -> Result<(), BrokerError> {
        // RabbitMQ takes a wait of nothing for one that is over before it began.
        let after = after.max(Duration::from_millis(1));
        let mut backoff = RECONNECT;
        loop {
            self.check_ours()?;
            let session = self.link.session().await?;
            let delayed = delays::queue(&session, self.queue, after).await?;
            let outgoing = self.message.retry(&delayed, after, error);
            match send(&self.link, vec![outgoing]).await {
                Err(BrokerError::Full(_)) => backoff.wait().await,
                sent => {
                    sent?;
                    break;
                }
            }
        }
        self.forget().await
    }

    async fn dead_letter(self: Box<Self>, why: &Why) -> Result<(), BrokerError> {
        self.check_ours()?;
        let outgoing = self.message.bury(self.queue, why);
        send(&self.link, vec![outgoing]).await?;
        self.forget().await
    }

    async fn release(self: Box<Self>) -> Result<(), BrokerError> {
        self.settle(self.acker.nack(REQUEUE)).await
    }
}
