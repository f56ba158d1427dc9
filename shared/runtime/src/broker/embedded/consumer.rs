//! Consuming from the file, and settling what was taken.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use maskline_messages::Queue;
use tokio::sync::Notify;

use super::{
    messages::{self, Taken},
    shared::Shared,
};
use crate::broker::{
    dead_letter::DeadLetterReason,
    delivery::{Consumer, Delivery, Settle},
    error::BrokerError,
};

/// A waiting consumer polls the file this often, in case the kernel has no watches left.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Messages taken from the file at a time.
const TAKE: usize = 64;

/// A consumer.
pub struct Subscription {
    shared: Arc<Shared>,
    /// Is notified when the queue has something.
    notice: Arc<Notify>,
    queue: Queue,
    prefetch: usize,
    in_hand: Arc<InHand>,
    /// Taken from the file and not yet asked for.
    taken: VecDeque<Delivery>,
    closed: bool,
}

/// How many deliveries of one consumer are unsettled.
#[derive(Default)]
struct InHand {
    count: AtomicUsize,
    fewer: Notify,
}

#[async_trait]
impl Consumer for Subscription {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            // This comes first, since what was taken went back when the broker was closed.
            if self.closed || self.shared.is_closed() {
                return None;
            }
            if let Some(delivery) = self.taken.pop_front() {
                return Some(delivery);
            }
            self.take_or_wait().await;
        }
    }

    async fn close(&mut self) {
        self.closed = true;
        // Each message goes back to the queue as its delivery is dropped.
        self.taken.clear();
    }
}

impl Subscription {
    pub fn new(shared: Arc<Shared>, queue: Queue, prefetch: u16) -> Self {
        Self {
            notice: shared.notifier.notice(queue),
            shared,
            queue,
            prefetch: usize::from(prefetch.max(1)),
            in_hand: Arc::default(),
            taken: VecDeque::new(),
            closed: false,
        }
    }

    /// Takes what there is, or waits for a reason to read the file again.
    async fn take_or_wait(&mut self) {
        let in_hand = self.in_hand.clone();
        // It listens for notifications before it reads the file, so that it misses none.
        let notice = self.notice.clone();
        let (mut notified, mut fewer) = (pin!(notice.notified()), pin!(in_hand.fewer.notified()));
        notified.as_mut().enable();
        fewer.as_mut().enable();
        let room = self
            .prefetch
            .saturating_sub(in_hand.count.load(Ordering::SeqCst));
        if room == 0 {
            fewer.await;
            return;
        }
        let again = match self.take(room.min(TAKE)).await {
            Ok(_) if !self.taken.is_empty() => return,
            Ok(next_due) => next_due.unwrap_or(POLL_INTERVAL).min(POLL_INTERVAL),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, queue = self.queue.name(), "can't take messages");
                POLL_INTERVAL
            }
        };
        tokio::select! {
            () = notified => {}
            () = tokio::time::sleep(again) => {}
        }
    }

    /// Takes at most `limit` messages. Returns how long the next message that waits for its
    /// retry still waits.
    async fn take(&mut self, limit: usize) -> Result<Option<Duration>, BrokerError> {
        let (queue, owner) = (self.queue, self.shared.process.name.clone());
        let (shared, in_hand) = (self.shared.clone(), self.in_hand.clone());
        let (taken, next_due) = self
            .shared
            .file
            .write(move |connection| {
                let (rows, next_due) = messages::take(connection, queue, &owner, limit)?;
                // The deliveries are made here, so that their drop gives the messages back if
                // nobody waits for them any more.
                let delivery = |taken| delivery(taken, queue, &shared, &in_hand);
                let taken: Vec<Delivery> = rows.into_iter().map(delivery).collect();
                Ok((taken, next_due))
            })
            .await?;
        self.taken.extend(taken);
        Ok(next_due)
    }
}

fn delivery(taken: Taken, queue: Queue, shared: &Arc<Shared>, in_hand: &Arc<InHand>) -> Delivery {
    in_hand.count.fetch_add(1, Ordering::SeqCst);
    Delivery {
        queue,
        envelope: taken.envelope,
        attempts: taken.attempts,
        redelivered: taken.redelivered,
        came_before: taken.came_before,
        settle: Box::new(Claim {
            id: taken.id,
            claim: taken.claim,
            queue,
            shared: shared.clone(),
            in_hand: in_hand.clone(),
            settled: false,
        }),
    }
}

/// A message in hand, which can be settled.
struct Claim {
    id: i64,
    claim: i64,
    queue: Queue,
    shared: Arc<Shared>,
    in_hand: Arc<InHand>,
    settled: bool,
}

impl Claim {
    /// Settles it in the file. `work` returns whether it was still ours.
    async fn settle(
        mut self: Box<Self>,
        mut work: impl FnMut(&rusqlite::Connection, &str, i64, i64) -> rusqlite::Result<bool>
        + Send
        + 'static,
    ) -> Result<(), BrokerError> {
        let (id, claim, owner) = (self.id, self.claim, self.shared.process.name.clone());
        let ours = self
            .shared
            .file
            .write(move |connection| work(connection, &owner, id, claim))
            .await?;
        // This comes last: if the settling was cut off or failed, the drop gives the message
        // back. If it was settled after all, giving it back changes nothing.
        self.settled = true;
        if ours {
            Ok(())
        } else {
            Err(BrokerError::Stale)
        }
    }
}

impl Claim {
    /// Settles it: it comes again after the wait, with so many attempts more.
    async fn delay(
        self: Box<Self>,
        after: Duration,
        attempts: u32,
        error: &str,
    ) -> Result<(), BrokerError> {
        let (error, shared, queue) = (error.to_owned(), self.shared.clone(), self.queue);
        self.settle(move |connection, owner, id, claim| {
            messages::delay(connection, owner, id, claim, after, attempts, &error)
        })
        .await?;
        // Consumers that wait must learn how long it is until this message is due.
        shared.notifier.notify(queue);
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.in_hand.count.fetch_sub(1, Ordering::SeqCst);
        self.in_hand.fewer.notify_waiters();
        if self.settled {
            return;
        }
        let (id, claim, shared, queue) = (self.id, self.claim, self.shared.clone(), self.queue);
        self.shared.file.write_soon(move |connection| {
            if messages::release(connection, &shared.process.name, id, claim)? {
                shared.notifier.notify(queue);
            }
            Ok(())
        });
    }
}

#[async_trait]
impl Settle for Claim {
    async fn ack(self: Box<Self>) -> Result<(), BrokerError> {
        let queue = self.queue;
        self.settle(move |connection, owner, id, claim| {
            messages::ack(connection, queue, owner, id, claim)
        })
        .await
    }

    async fn retry(self: Box<Self>, after: Duration, error: &str) -> Result<(), BrokerError> {
        self.delay(after, 1, error).await
    }

    async fn postpone(self: Box<Self>, after: Duration, why: &str) -> Result<(), BrokerError> {
        self.delay(after, 0, why).await
    }

    async fn dead_letter(self: Box<Self>, reason: &DeadLetterReason) -> Result<(), BrokerError> {
        let (reason, queue) = (reason.clone(), self.queue);
        self.settle(move |connection, owner, id, claim| {
            messages::dead_letter(connection, queue, owner, id, claim, &reason)
        })
        .await
    }

    async fn release(self: Box<Self>) -> Result<(), BrokerError> {
        let (shared, queue) = (self.shared.clone(), self.queue);
        self.settle(messages::release).await?;
        shared.notifier.notify(queue);
        Ok(())
    }
}
