//! Confirmed publishing.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesOrdered};
use lapin::{
    Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use maskline_foundation::Backoff;
use maskline_messages::Queue;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    link::{LINK_LIMIT, Link},
    session::Session,
    wire::Outgoing,
};
use crate::broker::BrokerError;

/// Messages of one call on their way at a time.
const WINDOW: usize = 256;

/// Calls that publish at a time; others wait.
const CHANNELS: usize = 64;

/// How long a publisher waits for room in a full queue.
const ROOM_LIMIT: Duration = Duration::from_secs(1);

/// The waits between two tries to publish to a full queue, in seconds.
const ROOM_WAITS: Backoff = Backoff::doubling(0.025, 0.4);

/// Publishes all and returns when all are confirmed. What a lost connection left
/// unconfirmed is published again: it may be there twice then.
pub async fn send(link: &Link, mut unsent: Vec<Outgoing>) -> Result<(), BrokerError> {
    let (mut reconnected_by, mut room_by, mut backoff) = (None, None, ROOM_WAITS);
    while !unsent.is_empty() {
        let session = link.session().await?;
        let before = unsent.len();
        let outcome = session.publish(&mut unsent).await;
        if unsent.len() < before {
            (reconnected_by, room_by, backoff) = (None, None, ROOM_WAITS);
        }
        match outcome {
            Ok(()) => {
                // What is left was refused: no room.
                let Some(first) = unsent.first() else { break };
                let by = *room_by.get_or_insert_with(|| Instant::now() + ROOM_LIMIT);
                if Instant::now() >= by {
                    return Err(BrokerError::Full(first.queue().to_owned()));
                }
                backoff.wait().await;
            }
            Err(Unsent::Lost(error)) => {
                let by = *reconnected_by.get_or_insert_with(|| Instant::now() + LINK_LIMIT);
                if Instant::now() >= by {
                    return Err(error);
                }
            }
            Err(Unsent::Late(error)) => return Err(error),
            Err(Unsent::Returned(key)) => {
                if Queue::of_key(&key).is_some() {
                    session.lose("a queue was deleted: all are declared again");
                }
                return Err(BrokerError::Unroutable(key));
            }
        }
    }
    Ok(())
}

/// Channels in confirm mode that nobody publishes on now.
///
/// A call has its channel to itself: lapin gives a returned message to whichever
/// confirmation comes next on the channel, and tags of tasks that share one can
/// be swapped. A call that is cut off takes its channel with it. So does one that is
/// refused: of a cluster whose node died RabbitMQ 3.10 goes on asking the dead one for
/// room, and refuses all, on a channel that had not published to the queue before.
pub struct Publishers {
    idle: Mutex<Vec<Channel>>,
    places: Semaphore,
}

impl Default for Publishers {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
            places: Semaphore::new(CHANNELS),
        }
    }
}

impl Publishers {
    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why not everything was published.
enum Unsent {
    /// The connection is gone.
    Lost(BrokerError),
    /// The broker does not confirm in time.
    Late(BrokerError),
    /// No queue takes this routing key.
    Returned(String),
}

enum Fate {
    Confirmed,
    Refused,
    Failed(Unsent),
}

impl Session {
    /// Publishes in order; what is confirmed is taken out of `unsent`. `Ok` with
    /// some left: their queues are full.
    async fn publish(&self, unsent: &mut Vec<Outgoing>) -> Result<(), Unsent> {
        let _place = self.publishers.places.acquire().await;
        let channel = self.publisher().await.map_err(Unsent::Lost)?;
        let mut fates = Vec::with_capacity(unsent.len());
        let mut on_the_way = FuturesOrdered::new();
        for outgoing in unsent.iter() {
            if on_the_way.len() == WINDOW {
                fates.extend(on_the_way.next().await);
            }
            on_the_way.push_back(self.publish_one(&channel, outgoing));
        }
        fates.extend(on_the_way.collect::<Vec<_>>().await);
        let is_refused = fates.iter().any(|fate| matches!(fate, Fate::Refused));
        if !self.is_lost() && !is_refused {
            self.publishers.idle().push(channel);
        }
        let mut failed = None;
        let mut fates = fates.into_iter();
        unsent.retain(|_| match fates.next() {
            Some(Fate::Confirmed) => false,
            Some(Fate::Failed(why)) => {
                failed.get_or_insert(why);
                true
            }
            Some(Fate::Refused) | None => true,
        });
        failed.map_or(Ok(()), Err)
    }

    async fn publish_one(&self, channel: &Channel, outgoing: &Outgoing) -> Fate {
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let confirmed = async {
            let publishing = channel.basic_publish(
                outgoing.exchange.into(),
                outgoing.key.as_str().into(),
                mandatory,
                &outgoing.body,
                outgoing.properties.clone(),
            );
            publishing.await?.await
        };
        match self.in_time(confirmed).await {
            Some(Ok(Confirmation::Ack(None))) => Fate::Confirmed,
            Some(Ok(Confirmation::Nack(None))) => Fate::Refused,
            Some(Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)))) => {
                Fate::Failed(Unsent::Returned(returned.routing_key.to_string()))
            }
            Some(Ok(Confirmation::NotRequested)) => {
                Fate::Failed(Unsent::Lost(self.lose("RabbitMQ does not confirm")))
            }
            Some(Err(error)) => Fate::Failed(Unsent::Lost(self.lose(error))),
            None => Fate::Failed(Unsent::Late(self.late())),
        }
    }

    async fn publisher(&self) -> Result<Channel, BrokerError> {
        let idle = self.publishers.idle().pop();
        if let Some(channel) = idle {
            return Ok(channel);
        }
        let channel = self.channel().await?;
        let confirm = ConfirmSelectOptions::default();
        self.answer(channel.confirm_select(confirm)).await?;
        Ok(channel)
    }
}
