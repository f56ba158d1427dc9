//! Delay queues: a message that is to be handled later is published to one on the
//! [ladder](super::ladder), with the time when it is due.

use std::time::Duration;

use futures::{StreamExt, stream};
use lapin::options::QueueDeclareOptions;
use maskline_messages::Queue;

use super::{
    errors::{NOT_FOUND, reply_code},
    ladder::{Wait, name, rungs, rungs_for},
    link::{Link, RECONNECT},
    outgoing::Outgoing,
    publish::send,
    session::Session,
    topology::{self, declare_queue},
};
use crate::broker::error::BrokerError;

/// The number of delay queues that the broker is asked about at the same time.
const QUERIES: usize = 16;

/// Puts a message of `queue` into a delay queue that takes it, and returns the rung of that queue.
/// `delayed` makes the message for a queue's name. A delay queue takes nothing while it is full, or
/// if its node died while it was being made: then it may never have a leader. So the next longer
/// one is tried. While none takes the message, all are tried again, as long as `is_ours` says that
/// the message is still in hand.
pub async fn put(
    link: &Link,
    queue: Queue,
    wait: Wait,
    delayed: impl Fn(&str) -> Outgoing,
    is_ours: impl Fn() -> Result<(), BrokerError>,
) -> Result<Duration, BrokerError> {
    let mut backoff = RECONNECT;
    loop {
        for rung in rungs_for(wait) {
            is_ours()?;
            let session = link.session().await?;
            let name = declared(&session, queue, rung).await?;
            match send(link, vec![delayed(&name)]).await {
                Err(BrokerError::Full(_)) => {}
                sent => return sent.map(|()| rung),
            }
        }
        backoff.wait().await;
    }
}

/// The name of a delay queue, which is made if it is not there.
async fn declared(session: &Session, queue: Queue, rung: Duration) -> Result<String, BrokerError> {
    let name = name(queue, rung, session.max_length);
    if !session.has_delay(&name) {
        let channel = session.channel().await?;
        let arguments = topology::delay(session.max_length);
        let declaring = declare_queue(&channel, &name, arguments);
        session.answer(declaring).await?;
        session.note_delay(name.clone());
    }
    Ok(name)
}

/// How many messages of `queue` wait on this rung and are in nobody's hands. RabbitMQ says 0 of a
/// queue that it can't count at the moment. The queue is made if it is not there.
pub async fn length(link: &Link, queue: Queue, rung: Duration) -> Result<u64, BrokerError> {
    let session = link.session().await?;
    let name = name(queue, rung, session.max_length);
    let channel = session.channel().await?;
    let arguments = topology::delay(session.max_length);
    // No error here is a reason to give the connection up.
    let failed = |error| BrokerError::unavailable("a delay queue is not counted").caused_by(error);
    let counted = declare_queue(&channel, &name, arguments)
        .await
        .map_err(failed)?;
    session.note_delay(name);
    Ok(counted.message_count().into())
}

/// How many messages of `queue` wait and are in nobody's hands. `session` must be one from
/// [`Session::aside`].
pub async fn waiting(session: &Session, queue: Queue) -> Result<u64, BrokerError> {
    let lengths: Vec<_> = stream::iter(rungs())
        .map(|rung| length_of(session, name(queue, rung, session.max_length)))
        .buffered(QUERIES)
        .collect()
        .await;
    lengths.into_iter().sum()
}

async fn length_of(session: &Session, name: String) -> Result<u64, BrokerError> {
    // This takes a channel of its own, because RabbitMQ closes the channel on which it was
    // asked for a queue that does not exist.
    let channel = session.channel().await?;
    let passive = QueueDeclareOptions::durable().passive();
    let asking = async {
        let asked = channel.queue_declare(name.as_str().into(), passive, Default::default());
        match asked.await {
            Ok(found) => Ok(Some(found.message_count())),
            Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let found = session.answer(asking).await?;
    Ok(found.map_or(0, u64::from))
}
