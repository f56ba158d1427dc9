//! Confirmed publishing.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesOrdered};
use lapin::{
    Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use maskline_foundation::Backoff;
use maskline_messages::Queue;
use tokio::time::Instant;

use super::{
    link::{LINK_LIMIT, Link},
    outgoing::Outgoing,
    session::Session,
};
use crate::broker::error::BrokerError;

/// Messages of one call that are on their way at a time.
const WINDOW: usize = 256;

/// How long a publisher waits for room in a full queue.
const ROOM_LIMIT: Duration = Duration::from_secs(1);

/// The waits between two tries to publish to a full queue, in seconds.
const ROOM_WAITS: Backoff = Backoff::doubling(0.025, 0.4);

/// Publishes all and returns when all are confirmed. What a lost connection left
/// unconfirmed is published again, and may then be there twice.
pub async fn send(link: &Link, mut unsent: Vec<Outgoing>) -> Result<(), BrokerError> {
    let (mut reconnected_by, mut room_by, mut backoff) = (None, None, ROOM_WAITS);
    while !unsent.is_empty() {
        let session = link.session().await?;
        let before = unsent.len();
        let published = publish(&session, &mut unsent).await;
        if unsent.len() < before {
            (reconnected_by, room_by, backoff) = (None, None, ROOM_WAITS);
        }
        match published {
            Ok(()) => {
                // The broker refused what is left, because there is no room.
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

/// Why not everything was published.
enum Unsent {
    /// The connection is gone.
    Lost(BrokerError),
    /// The broker does not confirm in time.
    Late(BrokerError),
    /// No queue takes this routing key.
    Returned(String),
}

/// What became of one message.
enum PublishResult {
    Confirmed,
    /// Its queue has no room.
    Refused,
    Failed(Unsent),
}

/// Publishes in order, and takes what is confirmed out of `unsent`. `Ok` with some left
/// means that their queues are full.
async fn publish(session: &Session, unsent: &mut Vec<Outgoing>) -> Result<(), Unsent> {
    let _permit = session.publishing.permit().await;
    let channel = channel(session).await.map_err(Unsent::Lost)?;
    let mut results = Vec::with_capacity(unsent.len());
    let mut on_the_way = FuturesOrdered::new();
    for outgoing in unsent.iter() {
        if on_the_way.len() == WINDOW {
            results.extend(on_the_way.next().await);
        }
        on_the_way.push_back(publish_one(session, &channel, outgoing));
    }
    results.extend(on_the_way.collect::<Vec<_>>().await);
    let is_refused = results
        .iter()
        .any(|result| matches!(result, PublishResult::Refused));
    if !session.is_lost() && !is_refused {
        session.publishing.put_back(channel);
    }
    let mut failed = None;
    let mut results = results.into_iter();
    unsent.retain(|_| match results.next() {
        Some(PublishResult::Confirmed) => false,
        Some(PublishResult::Failed(why)) => {
            failed.get_or_insert(why);
            true
        }
        Some(PublishResult::Refused) | None => true,
    });
    failed.map_or(Ok(()), Err)
}

/// Publishes one message and waits for its confirmation.
async fn publish_one(session: &Session, channel: &Channel, outgoing: &Outgoing) -> PublishResult {
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
    match session.in_time(confirmed).await {
        Some(Ok(Confirmation::Ack(None))) => PublishResult::Confirmed,
        Some(Ok(Confirmation::Nack(None))) => PublishResult::Refused,
        Some(Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)))) => {
            PublishResult::Failed(Unsent::Returned(returned.routing_key.to_string()))
        }
        Some(Ok(Confirmation::NotRequested)) => {
            PublishResult::Failed(Unsent::Lost(session.lose("RabbitMQ does not confirm")))
        }
        Some(Err(error)) => PublishResult::Failed(Unsent::Lost(session.lose(error))),
        None => PublishResult::Failed(Unsent::Late(session.late())),
    }
}

/// A channel in confirm mode.
async fn channel(session: &Session) -> Result<Channel, BrokerError> {
    if let Some(channel) = session.publishing.take() {
        return Ok(channel);
    }
    let channel = session.channel().await?;
    let confirm = ConfirmSelectOptions::default();
    session.answer(channel.confirm_select(confirm)).await?;
    Ok(channel)
}
