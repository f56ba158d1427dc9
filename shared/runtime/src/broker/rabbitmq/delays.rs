//! Queues where messages wait for their next attempt.
//!
//! A message that waits has a time of its own (RabbitMQ's per-message TTL), and
//! when that is over RabbitMQ moves it back to the queue it came from. RabbitMQ only
//! checks the head of a queue, so a long wait would hold up the short ones
//! behind it. Therefore each work queue has a ladder of delay queues, and one takes waits
//! up to twice as long as the one below it. A message behind another waits at most twice
//! its time, and mostly its own time.
//!
//! A delay queue is made when the first message needs it, and takes as many messages as its
//! work queue. If it is full, a delivery that is to be retried waits in the consumer. The
//! queue's name contains the limit, since a queue can't be declared with another limit than
//! the one it has.

use std::time::Duration;

use futures::{StreamExt, stream};
use lapin::options::QueueDeclareOptions;
use maskline_messages::Queue;

use super::{
    errors::{NOT_FOUND, reply_code},
    session::Session,
    topology::{self, declare_queue},
};
use crate::broker::error::BrokerError;

/// The longest wait of the lowest queue on the ladder. That of each next one is twice as
/// long, and the highest takes all that is longer.
const SHORTEST: Duration = Duration::from_millis(500);
const RUNGS: u32 = 14;

/// The number of delay queues that the broker is asked about at the same time.
const QUERIES: usize = 16;

fn rungs() -> impl Iterator<Item = Duration> {
    (0..RUNGS).map(|rung| SHORTEST * 2_u32.pow(rung))
}

/// The longest wait of the lowest queue that takes a message for `after`.
fn rung(after: Duration) -> Duration {
    let longest = SHORTEST * 2_u32.pow(RUNGS - 1);
    rungs().find(|&rung| after <= rung).unwrap_or(longest)
}

fn name(queue: Queue, rung: Duration, max_length: i64) -> String {
    format!("{queue}.delay.{}.max.{max_length}", rung.as_millis())
}

/// The name of the queue where a message of `queue` waits for `after`. It is made if it is
/// not there.
pub async fn queue(
    session: &Session,
    queue: Queue,
    after: Duration,
) -> Result<String, BrokerError> {
    let name = name(queue, rung(after), session.max_length);
    if !session.has_delay(&name) {
        let channel = session.channel().await?;
        let arguments = topology::delay(queue.name(), session.max_length);
        let declaring = declare_queue(&channel, &name, arguments);
        session.answer(declaring).await?;
        session.note_delay(name.clone());
    }
    Ok(name)
}

/// How many messages of `queue` wait. `session` must be one from [`Session::aside`].
pub async fn waiting(session: &Session, queue: Queue) -> Result<u64, BrokerError> {
    let lengths: Vec<_> = stream::iter(rungs())
        .map(|rung| length(session, name(queue, rung, session.max_length)))
        .buffered(QUERIES)
        .collect()
        .await;
    lengths.into_iter().sum()
}

async fn length(session: &Session, name: String) -> Result<u64, BrokerError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_goes_to_the_lowest_rung_that_is_long_enough() {
        let seconds = |after| rung(Duration::from_secs_f64(after)).as_secs_f64();
        assert_eq!(seconds(0.0), 0.5);
        assert_eq!(seconds(0.5), 0.5);
        assert_eq!(seconds(0.6), 1.0);
        assert_eq!(seconds(60.0), 64.0);
        assert_eq!(seconds(4500.0), 4096.0);
    }
}
