//! A TCP proxy in front of a server, whose connections a test can break.

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

/// How many chunks may be on their way in one direction of a connection.
const CHUNKS: usize = 256;
/// How many bytes are read at a time.
const CHUNK: usize = 16 * 1024;

/// Forwards what comes until a test breaks it. It ends with all its connections when it
/// is dropped.
pub struct Proxy {
    /// The address on which it listens.
    pub address: SocketAddr,
    faults: watch::Sender<Faults>,
    connections: Arc<Connections>,
    listening: AbortHandle,
}

/// How many connections there are.
#[derive(Default)]
struct Connections {
    /// Those that forward what comes.
    forwarding: AtomicUsize,
    /// Those that are silenced, and that the server has not closed yet.
    silent: AtomicUsize,
}

/// What a test has broken so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Faults {
    /// How often the connections were reset.
    resets: u32,
    /// How often the connections were silenced for good.
    silences: u32,
    /// `true` if new connections are reset, too.
    away: bool,
    /// `true` if all connections hold back what comes.
    paused: bool,
    /// How much later the client receives what the server sends.
    latency: Duration,
}

impl Proxy {
    /// A proxy in front of the server at `HOST:PORT`.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
        let faults = watch::Sender::new(Faults::default());
        let connections = Arc::new(Connections::default());
        let listening = listen(listener, server, faults.clone(), connections.clone());
        Self {
            address,
            faults,
            connections,
            listening: tokio::spawn(listening).abort_handle(),
        }
    }

    /// How many connections forward what comes.
    pub fn connections(&self) -> usize {
        self.connections.forwarding.load(Ordering::Relaxed)
    }

    /// How many connections are [silenced](Self::silence) without the server having noticed:
    /// it has not closed them.
    pub fn silent_connections(&self) -> usize {
        self.connections.silent.load(Ordering::Relaxed)
    }

    /// Resets all connections. New ones work.
    pub fn reset(&self) {
        self.faults.send_modify(|faults| faults.resets += 1);
    }

    /// From now on nothing comes through the present connections, and none of them is
    /// closed. New ones work.
    pub fn silence(&self) {
        self.faults.send_modify(|faults| faults.silences += 1);
    }

    /// Resets all connections, and every new one until it is called with `false`.
    pub fn set_away(&self, away: bool) {
        self.faults.send_modify(|faults| {
            faults.away = away;
            faults.resets += 1;
        });
    }

    /// Holds back everything that comes through present and new connections, until it is
    /// called with `false`. Nothing is lost then.
    pub fn set_paused(&self, paused: bool) {
        self.faults.send_modify(|faults| faults.paused = paused);
    }

    /// From now on the client receives what the server sends this much later.
    pub fn set_latency(&self, latency: Duration) {
        self.faults.send_modify(|faults| faults.latency = latency);
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
    faults: watch::Sender<Faults>,
    connections: Arc<Connections>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let (server, faults) = (server.clone(), faults.subscribe());
        let connections = connections.clone();
        tokio::spawn(async move {
            // An error is the end of the connection, which both of its ends see.
            let _ = connect(client, &server, faults, &connections).await;
        });
    }
}

async fn connect(
    mut client: TcpStream,
    server: &str,
    faults: watch::Receiver<Faults>,
    connections: &Connections,
) -> io::Result<()> {
    let before = *faults.borrow();
    if before.away {
        return client.set_zero_linger();
    }
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let until = |change: fn(&Faults, &Faults) -> bool| {
        let mut faults = faults.clone();
        async move {
            // When the proxy is gone, the connection ends as if it had been reset.
            let _ = faults.wait_for(|now| change(&before, now)).await;
        }
    };
    let is_reset = |before: &Faults, now: &Faults| now.resets != before.resets;
    connections.forwarding.fetch_add(1, Ordering::Relaxed);
    let silenced = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::join!(
                forward(from_client, to_server, faults.clone(), false),
                forward(from_server, to_client, faults.clone(), true),
            );
        };
        tokio::select! {
            () = both => None,
            () = until(is_reset) => Some(false),
            () = until(|before, now| now.silences != before.silences) => Some(true),
        }
    };
    let is_silenced = silenced == Some(true);
    if is_silenced {
        connections.silent.fetch_add(1, Ordering::Relaxed);
    }
    connections.forwarding.fetch_sub(1, Ordering::Relaxed);
    if is_silenced {
        let mut nowhere = tokio::io::sink();
        tokio::select! {
            () = until(is_reset) => {}
            _ = tokio::io::copy(&mut server, &mut nowhere) => {}
        }
        connections.silent.fetch_sub(1, Ordering::Relaxed);
        // The client has to find out by itself.
        until(is_reset).await;
    }
    if silenced.is_some() {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Forwards one direction until its end is reached, and then that end.
async fn forward(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    faults: watch::Receiver<Faults>,
    is_late: bool,
) {
    let (send, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let mut pauses = faults.clone();
    let reading = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let latency = if is_late {
                faults.borrow().latency
            } else {
                Duration::ZERO
            };
            let due = Instant::now() + latency;
            if send.send((due, buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(due).await;
            if pauses.wait_for(|faults| !faults.paused).await.is_err()
                || to.write_all(&chunk).await.is_err()
            {
                return;
            }
        }
        // An error means that the other end has gone already.
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::wait::{becomes, within};

    const SHORT: Duration = Duration::from_millis(50);
    const HANGS: Duration = Duration::from_secs(60);

    /// A server that sends back what it receives, and a proxy in front of it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Proxy::to(address.to_string()).await
    }

    async fn connected(proxy: &Proxy) -> TcpStream {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), b'?');
        stream
    }

    /// Sends one byte, and returns the byte that comes back.
    async fn answer(stream: &mut TcpStream) -> io::Result<u8> {
        stream.write_u8(b'?').await?;
        within("the echo", stream.read_u8()).await
    }

    #[tokio::test]
    async fn a_reset_ends_present_connections_and_new_ones_work() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        assert_eq!(proxy.connections(), 1);
        proxy.reset();
        assert!(within("the reset", stream.read_u8()).await.is_err());
        connected(&proxy).await;
    }

    #[tokio::test]
    async fn a_silenced_connection_stays_open_and_new_ones_work() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        proxy.silence();
        connected(&proxy).await;
        stream.write_u8(b'?').await.unwrap();
        assert!(timeout(SHORT, stream.read_u8()).await.is_err());
    }

    #[tokio::test]
    async fn a_silenced_connection_counts_until_the_server_closes_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Proxy::to(address.to_string()).await;
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_u8(b'!').await.unwrap();
        within("what the server sent", client.read_u8())
            .await
            .unwrap();

        proxy.silence();
        becomes(HANGS, 1, async || proxy.silent_connections()).await;
        server.write_u8(b'!').await.unwrap();
        drop(server);
        becomes(HANGS, 0, async || proxy.silent_connections()).await;
        assert!(timeout(SHORT, client.read_u8()).await.is_err());
    }

    #[tokio::test]
    async fn a_pause_holds_back_and_loses_nothing() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        proxy.set_paused(true);
        stream.write_u8(b'!').await.unwrap();
        assert!(timeout(SHORT, stream.read_u8()).await.is_err());
        proxy.set_paused(false);
        assert_eq!(within("the echo", stream.read_u8()).await.unwrap(), b'!');
    }

    #[tokio::test]
    async fn a_server_that_is_away_takes_no_connection_until_it_is_back() {
        let proxy = echo().await;
        proxy.set_away(true);
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(answer(&mut stream).await.is_err());
        proxy.set_away(false);
        connected(&proxy).await;
    }

    #[tokio::test]
    async fn what_the_server_sends_comes_late() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        proxy.set_latency(SHORT);
        let sent = Instant::now();
        answer(&mut stream).await.unwrap();
        assert!(sent.elapsed() >= SHORT);
    }
}
