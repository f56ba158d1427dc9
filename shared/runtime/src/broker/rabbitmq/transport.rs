//! Bytes to a broker and back, over TCP or over TLS.
//!
//! lapin works on any type of stream that the reactor of its runtime names. The reactor here
//! names one type for TCP and TLS. lapin's own TLS would bring a second set of libraries.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures::TryFutureExt as _;
use maskline_foundation::tls::{self, TlsError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// A connected stream of either kind.
pub type Stream = Compat<Box<dyn Bytes>>;

pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

fn stream(bytes: impl Bytes + 'static) -> Stream {
    let bytes: Box<dyn Bytes> = Box::new(bytes);
    bytes.compat()
}

/// Connects to hosts, with or without TLS.
#[derive(Clone)]
pub struct Transport {
    tls: Option<TlsConnector>,
}

impl Transport {
    pub fn tcp() -> Self {
        Self { tls: None }
    }

    /// TLS that trusts the authorities in the PEM file, or those of [`tls::client`].
    pub fn tls(authorities: Option<&Path>) -> Result<Self, TlsError> {
        Ok(Self {
            tls: Some(tls::client(authorities)?.into()),
        })
    }

    /// Connects to the host. With TLS the host has shown that it is this one.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<Stream> {
        let tcp = TcpStream::connect((host, port)).await?;
        // A request is sent at once, and does not wait until there is more to send.
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(stream(tcp));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(stream(tls.connect(name, tcp).await?))
    }
}

/// The current tokio runtime in the form that lapin takes, with our type of streams.
pub fn runtime() -> Runtime<RuntimeParts<Tokio, Streams>> {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), Streams(tokio)))
}

/// tokio's reactor with another type of streams.
#[derive(Clone, Debug)]
pub struct Streams(Tokio);

impl Reactor for Streams {
    type TcpStream = Stream;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// Nobody calls this, because a connection's stream comes from [`Transport::connect`].
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static> {
        Err::<Stream, _>(ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl futures::Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        TcpStream::connect(address).map_ok(stream)
    }
}
