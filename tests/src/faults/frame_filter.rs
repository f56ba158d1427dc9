//! A proxy in front of RabbitMQ that withholds one frame and everything after it. A test
//! uses it to stop a service between two steps: everything before the frame has happened,
//! and nothing after it happens.
//!
//! A frame of AMQP 0-9-1 consists of a type, a channel, a size, as many bytes as the size
//! says, and an end byte. A method frame begins with the numbers of its class and of its
//! method (specification 2.3.5).

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use maskline_messages::Queue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// The length of `AMQP` and the version, which a client sends before its first frame.
const PROTOCOL_HEADER: usize = 8;
/// The length of a frame's type, channel and size.
const FRAME_HEADER: usize = 7;
/// The type of a method frame.
const METHOD: u8 = 1;

/// The class `basic`, and four of its methods.
const BASIC: u16 = 60;
const CONSUME: u16 = 20;
const PUBLISH: u16 = 40;
const ACK: u16 = 80;

/// The frame that is withheld.
#[derive(Debug, Clone, Copy)]
pub enum Withheld {
    /// The service's acknowledgement of its `nth` delivery from a queue, counted from 1,
    /// and everything that the service sends after it. By then the messages that the
    /// delivery caused are confirmed.
    Acknowledgement { queue: Queue, nth: u32 },
    /// RabbitMQ's confirmation of a message with this key, and everything that RabbitMQ
    /// sends after it. By then the message is in its queue.
    Confirmation { key: &'static str },
}

/// Forwards every frame but the withheld ones. It stops listening when it is dropped.
pub struct FrameFilter {
    /// The address on which it listens.
    pub address: SocketAddr,
    has_withheld: watch::Receiver<bool>,
    listening: AbortHandle,
}

impl FrameFilter {
    /// A filter in front of the RabbitMQ at `HOST:PORT`.
    pub async fn to(server: String, withheld: Withheld) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
        let (report, has_withheld) = watch::channel(false);
        let report = Arc::new(report);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("RabbitMQ listens");
                let connection = Arc::new(Connection {
                    withheld,
                    seen: Mutex::default(),
                    report: report.clone(),
                });
                forward(client, server, connection);
            }
        });
        Self {
            address,
            has_withheld,
            listening: listening.abort_handle(),
        }
    }

    /// Waits until the frame has come and was withheld.
    pub async fn withheld(&self) {
        let mut has_withheld = self.has_withheld.clone();
        let withheld = has_withheld.wait_for(|withheld| *withheld).await;
        withheld.expect("the filter reports for as long as it is there");
    }
}

impl Drop for FrameFilter {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What is known about one connection.
struct Connection {
    withheld: Withheld,
    seen: Mutex<Seen>,
    report: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct Seen {
    /// The queue that each channel consumes.
    consumers: BTreeMap<u16, Vec<u8>>,
    acknowledgements: u32,
    /// The channel on which the message was published whose confirmation is withheld.
    published: Option<u16>,
}

fn forward(client: TcpStream, server: TcpStream, connection: Arc<Connection>) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("a socket that is open");
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let of_client = connection.clone();
    tokio::spawn(async move {
        // An error is the end of the connection, which both of its ends see.
        let _ = forward_frames(from_client, to_server, PROTOCOL_HEADER, |frame| {
            of_client.withholds_from_service(frame)
        })
        .await;
    });
    tokio::spawn(async move {
        let _ = forward_frames(from_server, to_client, 0, |frame| {
            connection.withholds_from_rabbitmq(frame)
        })
        .await;
    });
}

/// Forwards frames until one is withheld. After that it forwards nothing more, and keeps the
/// connection open. `protocol_header` is the number of bytes before the first frame.
async fn forward_frames(
    from: impl AsyncReadExt + Unpin,
    to: impl AsyncWriteExt + Unpin,
    protocol_header: usize,
    is_withheld: impl Fn(&[u8]) -> bool,
) -> std::io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    let mut frame = vec![0; protocol_header];
    from.read_exact(&mut frame).await?;
    loop {
        to.write_all(&frame).await?;
        if from.buffer().is_empty() {
            to.flush().await?;
        }
        frame.resize(FRAME_HEADER, 0);
        from.read_exact(&mut frame).await?;
        let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]);
        let whole = FRAME_HEADER + size as usize + 1;
        frame.resize(whole, 0);
        from.read_exact(&mut frame[FRAME_HEADER..]).await?;
        if is_withheld(&frame) {
            to.flush().await?;
            let mut dropped = vec![0; 4096];
            while from.read(&mut dropped).await? > 0 {}
            return Ok(());
        }
    }
}

impl Connection {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a frame that the service sends is withheld.
    fn withholds_from_service(&self, frame: &[u8]) -> bool {
        let Some((channel, method, arguments)) = basic(frame) else {
            return false;
        };
        let mut seen = self.seen();
        match (self.withheld, method) {
            (Withheld::Acknowledgement { .. }, CONSUME) => {
                // The name comes after two reserved bytes.
                let queue = short_text(&arguments[2..]).to_vec();
                seen.consumers.insert(channel, queue);
                false
            }
            (Withheld::Acknowledgement { queue, nth }, ACK) => {
                let of_queue = seen.consumers.get(&channel);
                if of_queue.is_some_and(|name| name == queue.name().as_bytes()) {
                    seen.acknowledgements += 1;
                }
                let withheld = seen.acknowledgements >= nth;
                if withheld {
                    self.report.send_replace(true);
                }
                withheld
            }
            (Withheld::Confirmation { key }, PUBLISH) => {
                let exchange = short_text(&arguments[2..]);
                let published = short_text(&arguments[2 + 1 + exchange.len()..]);
                if published == key.as_bytes() {
                    seen.published = Some(channel);
                }
                false
            }
            _ => false,
        }
    }

    /// Returns whether a frame that RabbitMQ sends is withheld.
    fn withholds_from_rabbitmq(&self, frame: &[u8]) -> bool {
        let is_confirmation = matches!(self.withheld, Withheld::Confirmation { .. })
            && matches!(basic(frame), Some((channel, ACK, _)) if Some(channel) == self.seen().published);
        if is_confirmation {
            self.report.send_replace(true);
        }
        is_confirmation
    }
}

/// The channel, the method and the arguments of a frame, where it is a method of the class
/// `basic`.
fn basic(frame: &[u8]) -> Option<(u16, u16, &[u8])> {
    let number = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let is_basic = frame[0] == METHOD && number(FRAME_HEADER)? == BASIC;
    is_basic.then_some(())?;
    Some((
        number(1)?,
        number(FRAME_HEADER + 2)?,
        frame.get(FRAME_HEADER + 4..)?,
    ))
}

/// The text whose length is in the first byte.
fn short_text(bytes: &[u8]) -> &[u8] {
    let length = bytes.first().copied().unwrap_or_default();
    bytes.get(1..=usize::from(length)).unwrap_or_default()
}
