//! A way to RabbitMQ that lets through all but one frame: what was to happen before it
//! has happened, what was to happen after it never does.
//!
//! A frame of AMQP 0-9-1 is a type, a channel, a size, so many bytes and an end; a
//! method begins with the numbers of its class and of itself (specification 2.3.5).

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

/// What a service says before it says its first frame: `AMQP` and the version.
const GREETING: usize = 8;
const HEADER: usize = 7;
const METHOD: u8 = 1;

const BASIC: u16 = 60;
const CONSUME: u16 = 20;
const PUBLISH: u16 = 40;
const ACK: u16 = 80;

/// What does not come through.
#[derive(Debug, Clone, Copy)]
pub enum Withheld {
    /// The service's acknowledgement of its `nth` delivery from a queue, counted from
    /// 1, and all that the service says after it. By then what follows from the
    /// delivery is confirmed.
    Acknowledgement { queue: Queue, nth: u32 },
    /// RabbitMQ's confirmation of a message with this key, and all that it says after
    /// it. By then the message is in its queue.
    Confirmation { key: &'static str },
}

/// Lets through what is not withheld; ends with its connections when it is dropped.
pub struct Gate {
    /// Where it listens.
    pub address: SocketAddr,
    shut: watch::Receiver<bool>,
    listening: AbortHandle,
}

impl Gate {
    /// To the RabbitMQ at `HOST:PORT`.
    pub async fn to(server: String, withheld: Withheld) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (shut, is_shut) = watch::channel(false);
        let shut = Arc::new(shut);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("it listens");
                let watched = Arc::new(Watched {
                    withheld,
                    seen: Mutex::default(),
                    shut: shut.clone(),
                });
                pass_on(client, server, watched);
            }
        });
        Self {
            address,
            shut: is_shut,
            listening: listening.abort_handle(),
        }
    }

    /// Waits until what is to be withheld has come, and was.
    pub async fn shut(&self) {
        let shut = self.shut.clone().wait_for(|shut| *shut).await.map(drop);
        shut.expect("the gate watches for as long as it is there");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// One connection's conversation.
struct Watched {
    withheld: Withheld,
    seen: Mutex<Seen>,
    shut: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct Seen {
    /// The queue that each channel takes from.
    consumers: BTreeMap<u16, Vec<u8>>,
    acknowledgements: u32,
    /// The channel on which the message was published whose confirmation is withheld.
    published: Option<u16>,
}

fn pass_on(client: TcpStream, server: TcpStream, watched: Arc<Watched>) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("a socket that is open");
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let watching = watched.clone();
    tokio::spawn(async move {
        // An error is the end of the connection, which its ends see.
        let _ = frames(from_client, to_server, GREETING, |frame| {
            watching.withholds_of_service(frame)
        })
        .await;
    });
    tokio::spawn(async move {
        let _ = frames(from_server, to_client, 0, |frame| {
            watched.withholds_of_rabbitmq(frame)
        })
        .await;
    });
}

/// Passes on frames until one is withheld, and then nothing more for as long as the
/// connection is open.
async fn frames(
    from: impl AsyncReadExt + Unpin,
    to: impl AsyncWriteExt + Unpin,
    greeting: usize,
    is_withheld: impl Fn(&[u8]) -> bool,
) -> std::io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    let mut frame = vec![0; greeting];
    from.read_exact(&mut frame).await?;
    loop {
        to.write_all(&frame).await?;
        if from.buffer().is_empty() {
            to.flush().await?;
        }
        frame.resize(HEADER, 0);
        from.read_exact(&mut frame).await?;
        let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]);
        let whole = HEADER + size as usize + 1;
        frame.resize(whole, 0);
        from.read_exact(&mut frame[HEADER..]).await?;
        if is_withheld(&frame) {
            to.flush().await?;
            let mut unheard = vec![0; 4096];
            while from.read(&mut unheard).await? > 0 {}
            return Ok(());
        }
    }
}

impl Watched {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn withholds_of_service(&self, frame: &[u8]) -> bool {
        let Some((channel, method, arguments)) = basic(frame) else {
            return false;
        };
        let mut seen = self.seen();
        match (self.withheld, method) {
            (Withheld::Acknowledgement { .. }, CONSUME) => {
                // Two reserved bytes before the name.
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
                    self.shut.send_replace(true);
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

    fn withholds_of_rabbitmq(&self, frame: &[u8]) -> bool {
        let is_confirmation = matches!(self.withheld, Withheld::Confirmation { .. })
            && matches!(basic(frame), Some((channel, ACK, _)) if Some(channel) == self.seen().published);
        if is_confirmation {
            self.shut.send_replace(true);
        }
        is_confirmation
    }
}

/// Channel, method and arguments of a frame that is a method of the class `basic`.
fn basic(frame: &[u8]) -> Option<(u16, u16, &[u8])> {
    let number = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let is_basic = frame[0] == METHOD && number(HEADER)? == BASIC;
    is_basic.then_some(())?;
    Some((number(1)?, number(HEADER + 2)?, frame.get(HEADER + 4..)?))
}

/// A text with its length in the first byte.
fn short_text(bytes: &[u8]) -> &[u8] {
    let length = bytes.first().copied().unwrap_or_default();
    bytes.get(1..=usize::from(length)).unwrap_or_default()
}
