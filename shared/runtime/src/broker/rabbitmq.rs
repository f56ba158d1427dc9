//! RabbitMQ, 3.10 and newer, over AMQP 0-9-1.
//!
//! ```text
//!               EXCHANGE (topic)            after 100 deliveries
//! publish ──key──▶ work queue ──▶ consumer      │
//!                   ▲    │          │ retry     ▼
//!         returning │    └──────────┼───────▶ DEAD_LETTERS ◀── dead_letter
//!                  delay queue ◀────┘           │ replay: to EXCHANGE
//! ```
//!
//! All queues are durable quorum queues, all publishes are mandatory and
//! confirmed, and what moves a message to another queue keeps it until that
//! queue has it.
//!
//! * `address`: reads the address that a person writes. `errors`: says what to do about errors.
//! * `transport`: TCP and TLS. `session`: one connection. `link`: a connection that is
//!   repaired when it is lost.
//! * `topology`: the exchange and the queues. `ladder`: which queue a message waits in. `delays`:
//!   puts messages there. `returning`: brings them back.
//! * `headers`, `outgoing`, `received`: messages as AMQP carries them.
//! * `channels`: the channels that `publish` publishes on.
//! * `consumer`, `dead_letters`: taking messages and settling them.

mod address;
mod channels;
mod consumer;
mod dead_letters;
mod delays;
mod errors;
mod headers;
mod ladder;
mod link;
mod outgoing;
mod publish;
mod received;
mod returning;
mod session;
mod topology;
mod transport;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use lapin::{ExchangeKind, options::ExchangeDeclareOptions, options::QueueDeclareOptions};
use maskline_messages::{
    Queue,
    topology::{DEAD_LETTERS, EXCHANGE},
};

use super::{
    dead_letter::{DeadLetter, DeadLetterId},
    delivery::Consumer,
    envelope::Envelope,
    error::BrokerError,
    roles::{Broker, BrokerAdmin, Consume, Depth, Publish},
};
use address::Address;
use consumer::Subscription;
use dead_letters::Disposition;
use link::Link;
use outgoing::Outgoing;

/// A RabbitMQ, or a cluster of it.
pub struct RabbitMq {
    link: Arc<Link>,
}

impl RabbitMq {
    /// Connects and declares everything. `address` is `amqp://…` or `amqps://…`,
    /// perhaps with several hosts, which are one cluster, and with `?max_length=N`,
    /// the messages that each queue may hold.
    pub async fn open(address: &str) -> Result<Self, BrokerError> {
        let link = Link::open(Address::parse(address)?).await?;
        Ok(Self {
            link: Arc::new(link),
        })
    }
}

#[async_trait]
impl Publish for RabbitMq {
    fn system(&self) -> &'static str {
        "rabbitmq"
    }

    fn server(&self) -> Option<(String, u16)> {
        Some(self.link.current().ok()?.server())
    }

    async fn publish(&self, envelope: Envelope) -> Result<(), BrokerError> {
        publish::send(&self.link, vec![Outgoing::new(envelope)?]).await
    }

    async fn publish_all(&self, envelopes: Vec<Envelope>) -> Result<(), BrokerError> {
        let outgoing = envelopes.into_iter().map(Outgoing::new);
        publish::send(&self.link, outgoing.collect::<Result<_, _>>()?).await
    }
}

#[async_trait]
impl Consume for RabbitMq {
    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let subscription = Subscription::open(self.link.clone(), queue, prefetch).await?;
        Ok(Box::new(subscription))
    }
}

#[async_trait]
impl BrokerAdmin for RabbitMq {
    /// Only RabbitMQ's management API knows what consumers have in hand. So `unsettled` is always
    /// 0, and `delayed` is without the messages that a process holds until they are due.
    async fn depths(&self) -> Result<BTreeMap<String, Depth>, BrokerError> {
        let session = self.link.session().await?.aside().await?;
        let channel = session.channel().await?;
        let mut depths = BTreeMap::new();
        for queue in Queue::ALL {
            let name = queue.name();
            let passive = QueueDeclareOptions::durable().passive();
            let asking = channel.queue_declare(name.into(), passive, Default::default());
            let ready = session.answer(asking).await?.message_count().into();
            let delayed = delays::waiting(&session, queue).await?;
            let depth = Depth {
                ready,
                unsettled: 0,
                delayed,
            };
            depths.insert(name.to_owned(), depth);
        }
        session.close().await;
        Ok(depths)
    }

    async fn lengths(&self) -> Result<BTreeMap<String, u64>, BrokerError> {
        let session = self.link.current()?;
        let channel = session.channel().await?;
        let mut lengths = BTreeMap::new();
        for name in Queue::ALL
            .map(Queue::name)
            .into_iter()
            .chain([DEAD_LETTERS])
        {
            let passive = QueueDeclareOptions::durable().passive();
            let asking = channel.queue_declare(name.into(), passive, Default::default());
            let length = session.answer(asking).await?.message_count();
            lengths.insert(name.to_owned(), length.into());
        }
        Ok(lengths)
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BrokerError> {
        dead_letters::list(&self.link, limit).await
    }

    async fn replay(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError> {
        dead_letters::settle(&self.link, ids, Disposition::Replay).await
    }

    async fn drop_dead_letters(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError> {
        dead_letters::settle(&self.link, ids, Disposition::Drop).await
    }
}

#[async_trait]
impl Broker for RabbitMq {
    async fn ping(&self) -> Result<(), BrokerError> {
        let session = self.link.current()?;
        let channel = session.channel().await?;
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let name = EXCHANGE.into();
        let asking =
            channel.exchange_declare(name, ExchangeKind::Topic, passive, Default::default());
        session.answer(asking).await
    }

    async fn close(&self) {
        self.link.close().await;
    }
}
