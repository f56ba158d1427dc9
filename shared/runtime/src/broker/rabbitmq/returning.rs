//! Brings delayed messages back. Every process that takes from a work queue takes from its delay
//! queues, too, and holds what it takes until it is due. Then it publishes the message to the work
//! queue and acknowledges it. If the process dies, RabbitMQ gives what it held to another.
//!
//! RabbitMQ can do that itself, with a time to live and dead-lettering "at least once". But it was
//! seen to stop when a node of a cluster died: the part of RabbitMQ 3.10 that moves the messages
//! can go on to ask the dead node whether there is room, and refuses what it moves until that node
//! is back. Several races of the same part at a change of leaders were mended in later versions.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicQosOptions},
};
use maskline_foundation::time::unix_millis;
use maskline_messages::Queue;
use metrics::{Gauge, gauge};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    delays,
    ladder::{Wait, name, rungs},
    link::{Link, RECONNECT},
    publish::send,
    received::Received,
    session::Session,
};
use crate::broker::{delivery::DELAYED, error::BrokerError};

/// The most messages of one delay queue that a process has in hand.
const IN_HAND: u16 = 512;

/// The most messages of one delay queue that a process publishes at the same time.
const AT_ONCE: usize = 8;

/// How often the broker is asked which delay queues have messages that somebody else put there, and
/// how long it may take to answer for one.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// Brings the delayed messages of one work queue back to it, until it is dropped.
///
/// A delay queue is taken from only when it is known to have messages, because somebody put one
/// there or because the broker counted some: RabbitMQ 3.10 ends the connection of whoever takes
/// from a queue without a leader, such as one that is just being made.
pub struct Returning {
    stop: CancellationToken,
    tasks: TaskTracker,
    found: Found,
}

/// Where somebody who put a message into a delay queue says on which rung it is.
pub type Found = mpsc::UnboundedSender<Duration>;

impl Returning {
    pub fn start(link: &Arc<Link>, queue: Queue) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (found, rungs) = mpsc::unbounded_channel();
        let asking = ask(link.clone(), queue, found.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(asking));
        tasks.spawn(take_all(link.clone(), queue, rungs, stop.clone()));
        tasks.close();
        Self { stop, tasks, found }
    }

    /// Whom to tell where a message was put.
    pub fn found(&self) -> Found {
        self.found.clone()
    }

    /// Gives back what is in hand.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Asks the broker again and again which delay queues of `queue` have messages.
async fn ask(link: Arc<Link>, queue: Queue, found: Found) {
    while !link.is_closed() {
        for rung in rungs() {
            let asking = tokio::time::timeout(ASK_LIMIT, delays::length(&link, queue, rung));
            match asking.await {
                Ok(Ok(0)) => {}
                Ok(Ok(_)) => drop(found.send(rung)),
                Ok(Err(error)) => {
                    let error = format!("{error:#}");
                    tracing::debug!(error, %queue, ?rung, "can't count delayed messages");
                }
                Err(_) => {
                    tracing::debug!(%queue, ?rung, "delayed messages are not counted in time")
                }
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Takes from the delay queues that are `found` to have messages.
async fn take_all(
    link: Arc<Link>,
    queue: Queue,
    mut found: mpsc::UnboundedReceiver<Duration>,
    stop: CancellationToken,
) {
    let (mut taken_from, mut taking) = (BTreeSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = link.closed() => break,
            Some(ended) = taking.join_next() => {
                if let Ok(rung) = ended {
                    taken_from.remove(&rung);
                }
            }
            Some(rung) = found.recv() => {
                if taken_from.insert(rung) {
                    let delay_queue = DelayQueue {
                        link: link.clone(),
                        queue,
                        rung,
                        stop: stop.clone(),
                        publishing: Semaphore::new(AT_ONCE),
                        held: gauge!(DELAYED, "queue" => queue.name()),
                    };
                    taking.spawn(delay_queue.bring_back());
                }
            }
        }
    }
    while taking.join_next().await.is_some() {}
}

/// One of the delay queues of a work queue.
struct DelayQueue {
    link: Arc<Link>,
    queue: Queue,
    rung: Duration,
    stop: CancellationToken,
    publishing: Semaphore,
    held: Gauge,
}

impl DelayQueue {
    /// Brings messages back until the stop or an error. Returns the rung.
    async fn bring_back(self) -> Duration {
        if let Err(error) = self.take().await {
            let (queue, rung) = (self.queue, self.rung);
            let error = format!("{error:#}");
            tracing::debug!(error, %queue, ?rung, "taking no more delayed messages for now");
        }
        self.rung
    }

    /// The channel is closed at the end, and RabbitMQ gives what was in hand to others.
    async fn take(&self) -> Result<(), BrokerError> {
        let session = self.link.session().await?;
        let channel = session.channel().await?;
        let consuming = session.answer(self.consume(&session, &channel));
        let mut deliveries = consuming.await?;
        let mut in_hand = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                delivery = deliveries.next() => {
                    let ended = || BrokerError::unavailable("RabbitMQ ended a consumer");
                    let delivery = delivery.ok_or_else(ended)?;
                    let delivery = delivery.map_err(|error| ended().caused_by(error))?;
                    in_hand.push(self.hold(&session, delivery));
                }
                Some(returned) = in_hand.next() => returned?,
            }
        }
        // What is being published now is acknowledged, so that it does not come twice.
        while in_hand.next().await.is_some() {}
        Ok(())
    }

    async fn consume(
        &self,
        session: &Session,
        channel: &Channel,
    ) -> lapin::Result<lapin::Consumer> {
        let max_length = session.max_length;
        let prefetch = u16::try_from(max_length).map_or(IN_HAND, |most| most.min(IN_HAND));
        channel
            .basic_qos(prefetch.max(1), BasicQosOptions::default())
            .await?;
        let name = name(self.queue, self.rung, max_length).into();
        channel
            .basic_consume(name, "".into(), Default::default(), Default::default())
            .await
    }

    /// Waits until the message is due, publishes it to where it goes, and acknowledges it. In
    /// between it exists twice, but it is never lost.
    async fn hold(
        &self,
        session: &Session,
        delivery: lapin::message::Delivery,
    ) -> Result<(), BrokerError> {
        let _counted = Counted::new(&self.held);
        let acker = delivery.acker;
        let message = Received::new(delivery.routing_key, delivery.properties, delivery.data);
        let (due, left) = message.due();
        // Other machines may have another time of day.
        let wait = Duration::from_millis(due.saturating_sub(unix_millis())).min(self.rung);
        let waiting = sleep_until(Instant::now() + wait);
        if self.stop.run_until_cancelled(waiting).await.is_none() {
            return Ok(());
        }
        let is_ours = || match acker.usable() && !session.is_lost() {
            true => Ok(()),
            false => Err(BrokerError::Stale),
        };
        let _permit = self.publishing.acquire().await.expect("never closed");
        if left.is_zero() {
            self.publish_back(&message, is_ours).await?;
        } else {
            let wait = Wait::from(left);
            let delayed = |name: &str| message.delayed_on(name, wait);
            let putting = delays::put(&self.link, self.queue, wait, delayed, is_ours);
            let put = self.stop.run_until_cancelled(putting).await;
            put.ok_or(BrokerError::Stale)??;
        }
        let settling = acker.ack(BasicAckOptions::default());
        match session.answer(settling).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(BrokerError::Stale),
        }
    }

    /// While the work queue is full the message stays in hand.
    async fn publish_back(
        &self,
        message: &Received,
        is_ours: impl Fn() -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        let mut backoff = RECONNECT;
        loop {
            is_ours()?;
            match send(&self.link, vec![message.back_to(self.queue)]).await {
                Err(BrokerError::Full(_)) => {
                    let waited = self.stop.run_until_cancelled(backoff.wait()).await;
                    waited.ok_or(BrokerError::Stale)?;
                }
                sent => return sent,
            }
        }
    }
}

/// A message in hand, in the gauge.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
