//! Keeps a [`Session`] open. When one is lost it opens the next, with the next node if the
//! broker is a cluster.

use std::{sync::Arc, time::Duration};

use maskline_foundation::Backoff;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    address::{Address, Security},
    session::Session,
    transport::Transport,
};
use crate::broker::error::BrokerError;

/// How long a caller waits for a connection.
pub const LINK_LIMIT: Duration = Duration::from_secs(10);

/// The waits between two tries to connect or to consume, in seconds. They are jittered, so
/// that services that lost the same broker don't come back all at once.
pub const RECONNECT: Backoff = Backoff::doubling(0.1, 10.0);

/// A connection that is repaired when it is lost.
pub struct Link {
    state: watch::Receiver<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Clone)]
enum State {
    /// There is a session.
    Up(Arc<Session>),
    /// There is none, for this reason.
    Down(BrokerError),
    Closed,
}

impl Link {
    /// Connects, and stays connected until [`close`](Self::close).
    pub async fn open(address: Address) -> Result<Self, BrokerError> {
        let mut cluster = Cluster::at(address)?;
        let session = Arc::new(cluster.connect().await?);
        let (sender, state) = watch::channel(State::Up(session.clone()));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(supervise(cluster, session, sender, stop.clone()));
        tasks.close();
        Ok(Self { state, stop, tasks })
    }

    /// The session. Waits a while for one if there is none.
    pub async fn session(&self) -> Result<Arc<Session>, BrokerError> {
        let mut state = self.state.clone();
        let usable = |state: &State| match state {
            State::Up(session) => !session.is_lost(),
            State::Down(_) => false,
            State::Closed => true,
        };
        if let Ok(Ok(state)) = tokio::time::timeout(LINK_LIMIT, state.wait_for(usable)).await {
            return match &*state {
                State::Up(session) => Ok(session.clone()),
                State::Down(_) | State::Closed => Err(closed()),
            };
        }
        self.current()
    }

    /// The session, if there is one now that is not lost or blocked.
    pub fn current(&self) -> Result<Arc<Session>, BrokerError> {
        match &*self.state.borrow() {
            State::Up(session) if session.is_lost() => Err(BrokerError::unavailable(
                "the connection to RabbitMQ was just lost",
            )),
            State::Up(session) if session.is_blocked() => Err(BrokerError::unavailable(
                "RabbitMQ takes no messages now: its memory or disk is short",
            )),
            State::Up(session) => Ok(session.clone()),
            State::Down(error) => Err(error.clone()),
            State::Closed => Err(closed()),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until somebody closes the link.
    pub async fn closed(&self) {
        self.stop.cancelled().await;
    }

    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The supervisor closes the connection.
        self.stop.cancel();
    }
}

fn closed() -> BrokerError {
    BrokerError::unavailable("the connection to RabbitMQ was closed")
}

/// The nodes that can be connected to, each in its turn.
struct Cluster {
    address: Address,
    transport: Transport,
    next: usize,
}

impl Cluster {
    /// Begins with any node, so that replicas spread over all.
    fn at(address: Address) -> Result<Self, BrokerError> {
        let transport = match &address.security {
            Security::Plain => Transport::tcp(),
            Security::Tls { authorities } => Transport::tls(authorities.as_deref())
                .map_err(|error| BrokerError::misconfigured(error.to_string()))?,
        };
        let next = rand::random_range(0..address.nodes.len());
        Ok(Self {
            address,
            transport,
            next,
        })
    }

    /// Opens a session with the first node that takes one. Each is asked once. An address
    /// that is wrong is wrong for all.
    async fn connect(&mut self) -> Result<Session, BrokerError> {
        let mut failures = vec![];
        for _ in 0..self.address.nodes.len() {
            let node = &self.address.nodes[self.next];
            self.next = (self.next + 1) % self.address.nodes.len();
            match Session::open(node, &self.transport, self.address.max_length).await {
                Err(failure @ BrokerError::Unavailable { .. }) => failures.push(failure),
                opened => return opened,
            }
        }
        Err(none_takes(failures))
    }
}

/// The error if no node takes a session. The error of a single node is returned as it is.
fn none_takes(mut failures: Vec<BrokerError>) -> BrokerError {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let problems: Vec<_> = failures.iter().map(BrokerError::problem).collect();
    BrokerError::unavailable(problems.join("; "))
}

async fn supervise(
    mut cluster: Cluster,
    mut session: Arc<Session>,
    sender: watch::Sender<State>,
    stop: CancellationToken,
) {
    loop {
        let Some(loss) = stop.run_until_cancelled(session.lost()).await else {
            break;
        };
        let node = session.node();
        let reason = format!("{loss:#}");
        tracing::warn!(
            node,
            reason,
            "the connection to RabbitMQ is lost: connecting again"
        );
        sender.send_replace(State::Down(loss));
        // Closing may hang, and nobody needs to wait for it.
        tokio::spawn(async move { session.close().await });
        let reconnecting = stop.run_until_cancelled(reconnect(&mut cluster, &sender));
        let Some(connected) = reconnecting.await else {
            sender.send_replace(State::Closed);
            return;
        };
        tracing::info!(node = connected.node(), "connected to RabbitMQ again");
        session = connected;
        sender.send_replace(State::Up(session.clone()));
    }
    sender.send_replace(State::Closed);
    session.close().await;
}

async fn reconnect(cluster: &mut Cluster, sender: &watch::Sender<State>) -> Arc<Session> {
    let mut backoff = RECONNECT;
    loop {
        backoff.wait().await;
        match cluster.connect().await {
            Ok(session) => return Arc::new(session),
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::warn!(reason, "can't connect to RabbitMQ yet");
                sender.send_replace(State::Down(error.while_in_use()));
            }
        }
    }
}
