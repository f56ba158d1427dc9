//! A good job beside a bad one: how much of its speed it keeps.
//!
//! The good job is a list of pictures on one host. Beside it, a hundred URLs of hosts that
//! behave badly wait already. Its speed alone is measured with as many scrapers in the same run.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use maskline_test_support::{environment::Environment, wait::within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

use super::report::Report;
use crate::process::Process;

/// How often a second each host may be asked.
const PER_HOST_RATE: &str = "50";
/// The URLs of a bad job.
const URLS: usize = 100;
/// So much of its speed alone the good job must keep.
const GOAL: f64 = 0.8;
/// How long a bad job has had the scrapers for itself when the good one comes.
const AHEAD: Duration = Duration::from_secs(3);

/// How the hosts of a bad job behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Neighbour {
    /// One host that sends the head of its answer a byte a second.
    SlowHead,
    /// 25 hosts that promise 20 MB and send nothing.
    Silent,
    /// Six hosts with a robots.txt of 500 KB, full of patterns.
    HugeRobots,
    /// One host that answers 503 to everything.
    Unavailable,
    /// Five hosts that close each connection, after a redirect to themselves that takes a second.
    Resets,
}

impl Neighbour {
    const ALL: [Self; 5] = [
        Self::SlowHead,
        Self::Silent,
        Self::HugeRobots,
        Self::Unavailable,
        Self::Resets,
    ];

    fn hosts(self) -> u8 {
        match self {
            Self::SlowHead | Self::Unavailable => 1,
            Self::Silent => 25,
            Self::HugeRobots => 6,
            Self::Resets => 5,
        }
    }

    /// Answers one request for `path`. An error means that the client has gone.
    async fn answer(self, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
        let is_robots = path == "/robots.txt";
        match self {
            Self::HugeRobots if is_robots => {
                let rules = "User-agent: *\n".to_owned() + &"Disallow:*b$\n".repeat(39_000);
                send(stream, "200 OK", "", rules.as_bytes()).await
            }
            Self::Unavailable => send(stream, "503 Service Unavailable", "", b"").await,
            _ if is_robots => send(stream, "404 Not Found", "", b"").await,
            Self::SlowHead => {
                for byte in "HTTP/1.1 200 OK\r\nX-Slow: "
                    .bytes()
                    .chain(std::iter::repeat(b'x'))
                {
                    stream.write_all(&[byte]).await?;
                    sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
            Self::Silent => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n";
                stream.write_all(head).await?;
                std::future::pending().await
            }
            Self::HugeRobots => send(stream, "200 OK", "", b"a picture").await,
            Self::Resets if path.ends_with("again") => Ok(()),
            Self::Resets => {
                sleep(Duration::from_secs(1)).await;
                let location = format!("Location: {path}?again\r\n");
                send(stream, "302 Found", &location, b"").await
            }
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SlowHead => "slow head",
            Self::Silent => "25 silent hosts",
            Self::HugeRobots => "huge robots.txt",
            Self::Unavailable => "503",
            Self::Resets => "redirects and resets",
        })
    }
}

/// Measures every neighbour of a job of `count` pictures, with 1, 2 and 4 scrapers on both brokers.
pub async fn run(report: &mut Report, count: u64) {
    for with_servers in [false, true] {
        for scrapers in [1, 2, 4] {
            measure(report, count, with_servers, scrapers).await;
        }
    }
}

async fn measure(report: &mut Report, count: u64, with_servers: bool, scrapers: usize) {
    let broker = match with_servers {
        false => "embedded",
        true => "RabbitMQ",
    };
    let alone = seconds(count, with_servers, scrapers, None).await;
    report.log(format_args!("{broker:8}  {scrapers}  alone: {alone:.1} s"));
    for neighbour in Neighbour::ALL {
        let beside = seconds(count, with_servers, scrapers, Some(neighbour)).await;
        let kept = alone / beside;
        report.check(
            kept >= GOAL,
            format_args!("{broker:8}  {scrapers}  {neighbour:22} {kept:.2}"),
        );
    }
}

/// How long the good job takes, until its last picture was sent.
async fn seconds(
    count: u64,
    with_servers: bool,
    scrapers: usize,
    beside: Option<Neighbour>,
) -> f64 {
    let mut environment = match with_servers {
        false => Environment::embedded(),
        true => Environment::servers().await,
    };
    environment.set("MASKLINE_PER_HOST", "4");
    environment.set("MASKLINE_PER_HOST_RATE", PER_HOST_RATE);
    environment.set("MASKLINE_RETRY_BASE", "0.5");
    let starting = (0..scrapers).map(|_| Process::start(&environment, "scraper"));
    let scrapers = join_all(starting).await;
    let mut bad = vec![];
    if let Some(neighbour) = beside {
        for host in 1..=neighbour.hosts() {
            bad.push(Host::start([127, 0, 4, host], Manner::Bad(neighbour)).await);
        }
        let urls = (0..URLS).map(|number| bad[number % bad.len()].url(number));
        enqueue(&environment, "bad", urls).await;
        sleep(AHEAD).await;
    }
    let sent = Arc::new(AtomicU64::new(0));
    let good = Host::start([127, 0, 5, 1], Manner::Good(sent.clone())).await;
    let begin = Instant::now();
    enqueue(
        &environment,
        "good",
        (0..count as usize).map(|number| good.url(number)),
    )
    .await;
    let all_sent = async {
        while sent.load(Ordering::Relaxed) < count {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(120 + count / 10);
    let in_time = tokio::time::timeout(limit, all_sent).await;
    let seconds = match in_time {
        Ok(()) => begin.elapsed().as_secs_f64(),
        Err(_) => f64::INFINITY,
    };
    for mut scraper in scrapers {
        within("the scraper's end", scraper.kill()).await;
    }
    environment.remove().await;
    seconds
}

async fn enqueue(environment: &Environment, name: &str, urls: impl Iterator<Item = String>) {
    let list = environment.folder().join(format!("{name}.txt"));
    let text: String = urls.map(|url| url + "\n").collect();
    std::fs::write(&list, text).expect("the folder can be written to");
    let list = list.to_str().expect("a plain path");
    let args = ["urls", list, "--label", "with_mask", "--collection", name];
    environment.enqueue(&args).await;
}

/// How a host behaves.
#[derive(Debug, Clone)]
enum Manner {
    /// It counts the pictures that it sends.
    Good(Arc<AtomicU64>),
    Bad(Neighbour),
}

impl Manner {
    async fn answer(self, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
        match self {
            Self::Bad(neighbour) => neighbour.answer(stream, path).await,
            Self::Good(_) if path == "/robots.txt" => send(stream, "404 Not Found", "", b"").await,
            Self::Good(sent) => {
                send(stream, "200 OK", "", path.as_bytes()).await?;
                sent.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

/// A host on an address of its own, until it is dropped.
struct Host {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Host {
    async fn start(host: [u8; 4], manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::from(host), 0)).await;
        let listener = listener.expect("every address of 127.0.0.0/8 is this machine's");
        let address = listener.local_addr().expect("it is bound");
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let manner = manner.clone();
                tokio::spawn(async move {
                    if let Some(path) = asked(&mut stream).await {
                        // An error means that the client has gone, which is all the same here.
                        let _ = manner.answer(&mut stream, &path).await;
                    }
                });
            }
        });
        Self { address, serving }
    }

    fn url(&self, number: usize) -> String {
        format!("http://{}/{number}.jpg", self.address)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The path of a request, once its head is there.
async fn asked(stream: &mut TcpStream) -> Option<String> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes).await.ok()?;
        if read == 0 || head.len() > 16 << 10 {
            return None;
        }
        head.extend_from_slice(&bytes[..read]);
    }
    let head = String::from_utf8(head).ok()?;
    Some(head.split(' ').nth(1)?.to_owned())
}

async fn send(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}
