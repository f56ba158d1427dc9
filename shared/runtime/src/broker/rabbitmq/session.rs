//! One connection, from the handshake until the first thing that goes wrong.

use std::{
    collections::BTreeSet, error::Error, io, path::Path, pin::pin, sync::OnceLock, time::Duration,
};

use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, uri::AMQPUri};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    address::Node,
    channels::PublishingChannels,
    errors::explain,
    topology,
    transport::{self, Transport},
};
use crate::{broker::error::BrokerError, instance::instance};

/// How long the network and the handshake may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long the declarations may take. Each new quorum queue needs a moment.
const DECLARE_LIMIT: Duration = Duration::from_secs(60);

/// How long the broker may take to answer a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may take to close in an orderly way.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// How often a connection is checked while nothing comes from it.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A connection on which everything is declared.
///
/// lapin's own recovery is not used, because it was seen to hang. Code that meets an error
/// calls [`Self::lose`] and so gives up the whole session. The [link](super::link::Link)
/// opens the next.
pub struct Session {
    pub connection: Connection,
    pub publishing: PublishingChannels,
    /// The most messages in each queue.
    pub max_length: i64,
    node: Node,
    transport: Transport,
    /// The queues of delayed messages that this session knows to exist.
    delays: Mutex<BTreeSet<String>>,
    lost: CancellationToken,
    loss: OnceLock<BrokerError>,
}

impl Session {
    pub async fn open(
        node: &Node,
        transport: &Transport,
        max_length: i64,
    ) -> Result<Self, BrokerError> {
        let late =
            |what: &str| BrokerError::unavailable(format!("RabbitMQ at {node} {what}: is it one?"));
        let connection = tokio::time::timeout(CONNECT_LIMIT, connect(node, transport))
            .await
            .map_err(|_| late("does not answer"))?
            .map_err(|error| explain(error, node))?;
        let declare = async {
            let channel = connection.create_channel().await?;
            topology::declare(&channel, max_length).await
        };
        tokio::time::timeout(DECLARE_LIMIT, declare)
            .await
            .map_err(|_| late("does not declare its queues"))?
            .map_err(|error| explain(error, node))?;
        Ok(Self {
            connection,
            publishing: PublishingChannels::default(),
            max_length,
            node: node.clone(),
            transport: transport.clone(),
            delays: Mutex::default(),
            lost: CancellationToken::new(),
            loss: OnceLock::new(),
        })
    }

    pub async fn channel(&self) -> Result<Channel, BrokerError> {
        self.answer(self.connection.create_channel()).await
    }

    /// The node that it is connected to, for log lines.
    pub fn node(&self) -> String {
        self.node.to_string()
    }

    /// Host and port of the node.
    pub fn server(&self) -> (String, u16) {
        let authority = &self.node.uri.authority;
        (authority.host.clone(), authority.port)
    }

    /// Opens another session with the same node, for questions that close the channel on
    /// which they are asked. lapin never uses the number of such a channel again, and has
    /// 2,047.
    pub async fn aside(&self) -> Result<Self, BrokerError> {
        Self::open(&self.node, &self.transport, self.max_length).await
    }

    /// Waits for the broker's answer. Without one, or with an error, the session is lost.
    pub async fn answer<T>(
        &self,
        asked: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerError> {
        match self.in_time(asked).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(self.lose(error)),
            None => Err(self.late()),
        }
    }

    /// Waits for the broker's answer. `None` after [`ANSWER_LIMIT`]. The time in which the
    /// broker [has blocked](Self::is_blocked) the connection does not count: if the connection
    /// were given up, everything would be delivered again and be blocked again.
    pub async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        let mut left = ANSWER_LIMIT;
        while !left.is_zero() {
            if let Ok(answer) = tokio::time::timeout(CHECK_EVERY, &mut answer).await {
                return Some(answer);
            }
            left = match self.is_blocked() {
                true => ANSWER_LIMIT,
                false => left.saturating_sub(CHECK_EVERY),
            };
        }
        None
    }

    /// True if the broker reads nothing from the connection now, because its memory
    /// or its disk is short.
    pub fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Gives up because there was no answer in time.
    pub fn late(&self) -> BrokerError {
        self.lose(format!("no answer within {} s", ANSWER_LIMIT.as_secs()))
    }

    /// Gives the whole connection up. All that is unsettled will be delivered again. Every
    /// caller gets the first cause.
    pub fn lose(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> BrokerError {
        let loss = self.loss.get_or_init(|| {
            BrokerError::unavailable("the connection to RabbitMQ is lost").caused_by(cause)
        });
        self.lost.cancel();
        loss.clone()
    }

    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled() || !self.connection.status().connected()
    }

    /// Waits until the connection is of no more use. Returns why.
    pub async fn lost(&self) -> BrokerError {
        // Code that uses the connection notices first. This is for a time when none does.
        let disconnected = async {
            let mut blocked = false;
            while self.connection.status().connected() {
                if self.is_blocked() != blocked {
                    blocked = !blocked;
                    self.log_blocked(blocked);
                }
                tokio::time::sleep(CHECK_EVERY).await;
            }
        };
        tokio::select! {
            () = self.lost.cancelled() => {}
            () = disconnected => {
                self.lose("the broker closed the connection");
            }
        }
        let closed = || BrokerError::unavailable("the connection to RabbitMQ was closed");
        self.loss.get().cloned().unwrap_or_else(closed)
    }

    fn log_blocked(&self, blocked: bool) {
        let node = self.node();
        match blocked {
            true => tracing::warn!(
                node,
                "RabbitMQ takes no messages now, its memory or disk is short: publishing waits \
                 until it does"
            ),
            false => tracing::info!(node, "RabbitMQ takes messages again"),
        }
    }

    pub async fn close(&self) {
        self.lost.cancel();
        if !self.connection.status().connected() {
            return;
        }
        let closing = self.connection.close(200, "OK".into());
        match tokio::time::timeout(CLOSE_LIMIT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "closing the connection to RabbitMQ"),
            Err(_) => tracing::debug!("RabbitMQ does not answer the closing of a connection"),
        }
    }

    /// True if this session knows that a queue of delayed messages exists.
    pub fn has_delay(&self, name: &str) -> bool {
        self.delays.lock().contains(name)
    }

    pub fn note_delay(&self, name: String) {
        self.delays.lock().insert(name);
    }
}

async fn connect(node: &Node, transport: &Transport) -> lapin::Result<Connection> {
    let transport = transport.clone();
    Connection::connector(
        node.uri.clone(),
        transport::runtime(),
        // Without a limit the system's own would apply to a silent host, which is minutes.
        async move |uri: AMQPUri, _| {
            let connecting = transport.connect(&uri.authority.host, uri.authority.port);
            let connected = tokio::time::timeout(CONNECT_LIMIT, connecting).await;
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            Ok(AsyncTcpStream::Plain(connected.map_err(late)??))
        },
        ConnectionProperties::default().with_connection_name(name().into()),
    )
    .await
}

/// The connection's name in RabbitMQ's lists: the program and which one of it.
fn name() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_stem().unwrap_or_default();
    format!("{} {}", program.display(), instance())
}
