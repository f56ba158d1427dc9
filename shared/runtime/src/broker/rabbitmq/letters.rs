//! The dead letters: looking at them, sending them back, dropping them.

use std::collections::BTreeSet;

use lapin::{
    Channel,
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions},
};
use maskline_messages::topology::DEAD_LETTERS;

use super::{link::Link, publish::send, session::Session, wire::Received};
use crate::broker::{BrokerError, DeadLetter, DeadLetterId};

/// Letters replayed or dropped together. Of the acknowledgements for a quorum
/// queue RabbitMQ holds back those beyond 32, and a channel that is closed loses
/// what was held back: the letter would lie there again.
const TOGETHER: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Replayed,
    Dropped,
}

/// The oldest `most`. They lie there again when this returns, whatever comes of it.
pub async fn list(link: &Link, most: usize) -> Result<Vec<DeadLetter>, BrokerError> {
    let session = link.session().await?;
    let mut reader = Reader::open(&session).await?;
    let mut letters = vec![];
    while letters.len() < most
        && let Some((letter, _)) = reader.next().await?
    {
        letters.push(letter.dead_letter());
    }
    reader.close().await?;
    // Those that were looked at before may come in another order.
    letters.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(letters)
}

/// Replays or drops the letters of these ids; `None` means all that are there
/// now. Returns how many. A letter goes only after its replay is confirmed.
pub async fn settle(
    link: &Link,
    ids: Option<&[DeadLetterId]>,
    fate: Fate,
) -> Result<usize, BrokerError> {
    let session = link.session().await?;
    let mut reader = Reader::open(&session).await?;
    let mut missing = ids.map(|ids| ids.iter().collect::<BTreeSet<_>>());
    let mut settled = 0;
    loop {
        let mut chosen = vec![];
        let mut at_the_end = false;
        while chosen.len() < TOGETHER {
            if missing.as_ref().is_some_and(BTreeSet::is_empty) {
                at_the_end = true;
                break;
            }
            let Some(letter) = reader.next().await? else {
                at_the_end = true;
                break;
            };
            let id = letter.0.id();
            if missing.as_mut().is_none_or(|missing| missing.remove(&id)) {
                chosen.push(letter);
            }
        }
        if fate == Fate::Replayed {
            let outgoing = chosen.iter().map(|(letter, _)| letter.replay()).collect();
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

/// Takes letters one by one and, when it is closed or dropped, gives back those
/// that were not acknowledged.
struct Reader<'a> {
    session: &'a Session,
    channel: Channel,
    /// Letters that were there at the first look and are not read yet. What is
    /// buried meanwhile (a replayed one, perhaps) is for the next reader.
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
        let letter = Received::new(
            taken.routing_key.clone(),
            std::mem::take(&mut taken.properties),
            std::mem::take(&mut taken.data),
        );
        Ok(Some((letter, taken)))
    }

    async fn close(self) -> Result<(), BrokerError> {
        let all = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        // The tag zero: all that are unsettled.
        self.session.answer(self.channel.basic_nack(0, all)).await?;
        let closing = self.channel.close(200, "OK".into());
        self.session.answer(closing).await
    }
}
