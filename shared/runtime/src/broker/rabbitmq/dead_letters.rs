//! The dead letters: listing, replaying and dropping them.

use std::collections::BTreeSet;

use lapin::{
    Channel,
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions},
};
use maskline_messages::topology::DEAD_LETTERS;

use super::{link::Link, publish::send, received::Received, session::Session};
use crate::broker::{
    dead_letter::{DeadLetter, DeadLetterId},
    error::BrokerError,
};

/// Dead letters that are replayed or dropped together. RabbitMQ holds back the
/// acknowledgements for a quorum queue beyond 32, and a channel that is closed loses what
/// was held back. Those dead letters would be there again.
const BATCH: usize = 16;

/// What an operator decided about a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    Replay,
    Drop,
}

/// The oldest `limit` dead letters. They are in their queue again when this returns, even
/// with an error.
pub async fn list(link: &Link, limit: usize) -> Result<Vec<DeadLetter>, BrokerError> {
    let session = link.session().await?;
    let mut reader = Reader::open(&session).await?;
    let mut listed = vec![];
    while listed.len() < limit
        && let Some((message, _)) = reader.next().await?
    {
        listed.push(message.dead_letter());
    }
    reader.close().await?;
    // Dead letters that were listed before may come in another order.
    listed.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(listed)
}

/// Replays or drops the dead letters of these ids. `None` means all that are there now.
/// Returns how many. A dead letter goes only after its replay is confirmed.
pub async fn settle(
    link: &Link,
    ids: Option<&[DeadLetterId]>,
    disposition: Disposition,
) -> Result<usize, BrokerError> {
    let session = link.session().await?;
    let mut reader = Reader::open(&session).await?;
    let mut missing = ids.map(|ids| ids.iter().collect::<BTreeSet<_>>());
    let mut settled = 0;
    loop {
        let mut chosen = vec![];
        let mut at_the_end = false;
        while chosen.len() < BATCH {
            if missing.as_ref().is_some_and(BTreeSet::is_empty) {
                at_the_end = true;
                break;
            }
            let Some(taken) = reader.next().await? else {
                at_the_end = true;
                break;
            };
            let id = taken.0.id();
            if missing.as_mut().is_none_or(|missing| missing.remove(&id)) {
                chosen.push(taken);
            }
        }
        if disposition == Disposition::Replay {
            let outgoing = chosen
                .iter()
                .map(|(message, _)| message.replayed())
                .collect();
            if let Err(error) = send(link, outgoing).await {
                reader.close().await?;
                return Err(error);
            }
        }
        for (_, taken) in &chosen {
            let ack = taken.acker.ack(BasicAckOptions::default());
            session.answer(ack).await?;
        }
        settled += chosen.len();
        if at_the_end {
            break;
        }
    }
    reader.close().await?;
    Ok(settled)
}

/// Takes dead letters one by one. When it is closed or dropped, those that were not
/// acknowledged go back.
struct Reader<'a> {
    session: &'a Session,
    channel: Channel,
    /// The number of dead letters that were there at the first read and are not read yet. What
    /// is dead-lettered meanwhile (a replayed message, perhaps) is for the next reader.
    left: Option<u32>,
}

impl<'a> Reader<'a> {
    async fn open(session: &'a Session) -> Result<Self, BrokerError> {
        Ok(Self {
            session,
            channel: session.channel().await?,
            left: None,
        })
    }

    async fn next(&mut self) -> Result<Option<(Received, BasicGetMessage)>, BrokerError> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let get = self
            .channel
            .basic_get(DEAD_LETTERS.into(), BasicGetOptions::default());
        let Some(mut taken) = self.session.answer(get).await? else {
            return Ok(None);
        };
        let behind = taken.message_count;
        self.left = Some(self.left.map_or(behind, |left| left - 1));
        let message = Received::new(
            taken.routing_key.clone(),
            std::mem::take(&mut taken.properties),
            std::mem::take(&mut taken.data),
        );
        Ok(Some((message, taken)))
    }

    async fn close(self) -> Result<(), BrokerError> {
        let all = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        // The tag zero means all that are unsettled.
        self.session.answer(self.channel.basic_nack(0, all)).await?;
        let closing = self.channel.close(200, "OK".into());
        self.session.answer(closing).await
    }
}
