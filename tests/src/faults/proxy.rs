//! A way to a server that can break.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::AbortHandle,
    time::Instant,
};

/// Pieces on their way in one direction of a connection.
const PIECES: usize = 256;
/// Bytes read at a time.
const PIECE: usize = 16 * 1024;

/// Passes on what comes, until it is told otherwise; ends with all its connections
/// when it is dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: watch::Sender<State>,
    passing: Arc<AtomicUsize>,
    listening: AbortHandle,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct State {
    /// So often were the connections reset.
    resets: u32,
    /// So often did they fall silent.
    silences: u32,
    /// New connections are reset, too.
    away: bool,
    /// What comes from the server comes so much later.
    latency: Duration,
}

impl Proxy {
    /// To the server at `HOST:PORT`.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = watch::Sender::new(State::default());
        let passing = Arc::new(AtomicUsize::new(0));
        let listening = tokio::spawn(listen(listener, server, state.clone(), passing.clone()));
        Self {
            address,
            state,
            passing,
            listening: listening.abort_handle(),
        }
    }

    /// Connections that pass on what comes.
    pub fn connections(&self) -> usize {
        self.passing.load(Ordering::Relaxed)
    }

    /// Resets all connections; new ones are let through.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// From now on nothing comes through the connections that there are, and none is
    /// closed; new ones are let through.
    pub fn silence(&self) {
        self.state.send_modify(|state| state.silences += 1);
    }

    /// Resets all connections and every new one until it is no longer away.
    pub fn set_away(&self, away: bool) {
        self.state.send_modify(|state| {
            state.away = away;
            state.resets += 1;
        });
    }

    /// From now on what the server says comes so much later.
    pub fn set_latency(&self, latency: Duration) {
        self.state.send_modify(|state| state.latency = latency);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.reset();
    }
}

async fn listen(
    listener: TcpListener,
    server: String,
    state: watch::Sender<State>,
    passing: Arc<AtomicUsize>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let (server, state, passing) = (server.clone(), state.subscribe(), passing.clone());
        tokio::spawn(async move {
            // What fails is the connection, and who is at its ends sees it.
            let _ = connect(client, &server, state, &passing).await;
        });
    }
}

async fn connect(
    mut client: TcpStream,
    server: &str,
    state: watch::Receiver<State>,
    passing: &AtomicUsize,
) -> io::Result<()> {
    let begun = *state.borrow();
    if begun.away {
        return client.set_zero_linger();
    }
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let until = |change: fn(&State, &State) -> bool| {
        let mut state = state.clone();
        async move {
            // Without a proxy left it is as good as reset.
            let _ = state.wait_for(|now| change(&begun, now)).await;
        }
    };
    let is_reset = |begun: &State, now: &State| now.resets != begun.resets;
    passing.fetch_add(1, Ordering::Relaxed);
    let silenced = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::join!(
                pass_on(from_client, to_server, None),
                pass_on(from_server, to_client, Some(state.clone())),
            );
        };
        tokio::select! {
            () = both => None,
            () = until(is_reset) => Some(false),
            () = until(|begun, now| now.silences != begun.silences) => Some(true),
        }
    };
    passing.fetch_sub(1, Ordering::Relaxed);
    if silenced == Some(true) {
        until(is_reset).await;
    }
    if silenced.is_some() {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Until its end is reached, which is passed on, too.
async fn pass_on(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    latency: Option<watch::Receiver<State>>,
) {
    let (send, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let later = latency.as_ref().map(|state| state.borrow().latency);
            let due = Instant::now() + later.unwrap_or_default();
            if send.send((due, buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        // The other end has gone already where it can't be told.
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}
