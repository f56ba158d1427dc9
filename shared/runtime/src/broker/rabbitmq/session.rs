//! One connection, from the handshake until the first thing that goes wrong.

use std::{
    collections::BTreeSet,
    fmt,
    path::Path,
    sync::{OnceLock, PoisonError},
    time::Duration,
};

use lapin::{
    Channel, Connection, ConnectionProperties, runtime::default_runtime, tcp::AMQPUriTcpExt,
};
use tokio_util::sync::CancellationToken;

use super::{address::Address, errors::explain, publish::Publishers, topology};
use crate::{broker::BrokerError, telemetry};

/// How long the network and the handshake may take, and then the declarations:
/// new quorum queues need a moment each.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const DECLARE_LIMIT: Duration = Duration::from_secs(60);

/// How long an answer may take that the broker owes at once.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may take to close in an orderly way.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// How often a connection that nobody uses is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connection with everything declared.
///
/// lapin's own recovery is not used: it was seen to hang. Whoever meets an error
/// [loses](Self::lose) the whole session; the [link](super::link::Link) makes
/// the next.
pub struct Session {
    pub connection: Connection,
    pub publishers: Publishers,
    delays: std::sync::Mutex<BTreeSet<String>>,
    lost: CancellationToken,
    reason: OnceLock<String>,
}

impl Session {
    pub async fn open(address: &Address) -> Result<Self, BrokerError> {
        let late = |what: &str| {
            BrokerError::Unavailable(format!("RabbitMQ at {address} {what}: is it one?"))
        };
        let connection = tokio::time::timeout(CONNECT_LIMIT, connect(address))
            .await
            .map_err(|_| late("does not answer"))?
            .map_err(|error| explain(&error, address))?;
        let declare = async {
            let channel = connection.create_channel().await?;
            topology::declare(&channel, address.max_length).await
        };
        tokio::time::timeout(DECLARE_LIMIT, declare)
            .await
            .map_err(|_| late("does not declare its queues"))?
            .map_err(|error| explain(&error, address))?;
        Ok(Self {
            connection,
            publishers: Publishers::default(),
            delays: std::sync::Mutex::default(),
            lost: CancellationToken::new(),
            reason: OnceLock::new(),
        })
    }

    pub async fn channel(&self) -> Result<Channel, BrokerError> {
        self.answer(self.connection.create_channel()).await
    }

    /// The broker's answer. Without one, or with an error, the session is lost.
    pub async fn answer<T>(
        &self,
        asked: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerError> {
        match tokio::time::timeout(ANSWER_LIMIT, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.lose(error)),
            Err(_) => Err(self.lose(self.late())),
        }
    }

    /// Why there was no answer in time.
    pub fn late(&self) -> String {
        if self.connection.status().blocked() {
            return "the broker takes no messages now: its memory or disk is short".to_owned();
        }
        format!("no answer within {} s", ANSWER_LIMIT.as_secs())
    }

    /// Gives the whole connection up; all that is unsettled will be delivered again.
    pub fn lose(&self, reason: impl fmt::Display) -> BrokerError {
        let reason = self.reason.get_or_init(|| reason.to_string());
        self.lost.cancel();
        BrokerError::Unavailable(format!("the connection to RabbitMQ is lost: {reason}"))
    }

    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled() || !self.connection.status().connected()
    }

    /// Waits until the connection is of no more use. Returns why.
    pub async fn lost(&self) -> String {
        // Who uses it notices first. This is for a time when nobody does.
        let disconnected = async {
            while self.connection.status().connected() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = self.lost.cancelled() => {}
            () = disconnected => {
                self.lose("the broker closed the connection");
            }
        }
        self.reason.get().cloned().unwrap_or_default()
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

    /// Whether this session knows that a queue of delayed messages exists.
    pub fn has_delay(&self, name: &str) -> bool {
        self.delays().contains(name)
    }

    pub fn note_delay(&self, name: String) {
        self.delays().insert(name);
    }

    fn delays(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(address: &Address) -> lapin::Result<Connection> {
    Connection::connector(
        address.uri.clone(),
        default_runtime()?,
        // lapin's own would wait for a silent host for as long as the system does.
        async |uri, runtime| {
            let connecting = uri.connect_async(&runtime);
            let connected = tokio::time::timeout(CONNECT_LIMIT, connecting).await;
            Ok(connected.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??)
        },
        ConnectionProperties::default().with_connection_name(name().into()),
    )
    .await
}

/// The connection's name in RabbitMQ's lists: the program and which one of it.
fn name() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_stem().unwrap_or_default();
    format!("{} {}", program.display(), telemetry::instance())
}
