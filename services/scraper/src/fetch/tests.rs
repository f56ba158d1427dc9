//! Fetching from servers that behave well, badly or not at all.
//!
//! * [`answers`]: what kinds of answers mean for an image.

mod answers;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use maskline_messages::{JobId, Location, Reason};
use maskline_runtime::RetryPolicy;
use maskline_storage::records::ShareLimit;
use maskline_test_support::environment::Environment;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};

use super::{FetchError, FetchLimits, FetchedImage, Fetcher, SiteLimits};

/// What a server sends, byte by byte, before it waits for ever or closes the connection.
#[derive(Clone, Copy)]
enum Sends {
    Whole(&'static [u8]),
    AndThenNothing(&'static str),
    /// These bytes every 10 ms after the head, without an end.
    Endlessly(&'static [u8]),
}

const PICTURE: Sends = Sends::Whole(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npicture");
const PROMISE: Sends = Sends::AndThenNothing("HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n");

/// A server on an address of its own, which is a host of its own.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    serving: AbortHandle,
}

impl Server {
    async fn start(host: [u8; 4], sends: Sends) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::from(host), 0)).await;
        let listener = listener.expect("every address of 127.0.0.0/8 is this machine's");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    match sends {
                        Sends::Whole(text) => {
                            let _ = stream.write_all(text).await;
                            let _ = stream.shutdown().await;
                        }
                        Sends::AndThenNothing(text) => {
                            let _ = stream.write_all(text.as_bytes()).await;
                            std::future::pending::<()>().await;
                        }
                        Sends::Endlessly(piece) => {
                            let head = b"HTTP/1.1 200 OK\r\n\r\n";
                            let mut sent = stream.write_all(head).await;
                            while sent.is_ok() {
                                tokio::time::sleep(Duration::from_millis(10)).await;
                                sent = stream.write_all(piece).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            asked,
            serving: serving.abort_handle(),
        }
    }

    fn image(&self, number: usize) -> Location {
        let url = format!("http://{}/{number}.jpg", self.address);
        Location::Url(url.parse().unwrap())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

const RETRY: RetryPolicy = RetryPolicy {
    base: 0.02,
    factor: 1.5,
    cap: 0.2,
    attempts: 4,
};

fn limits(at_a_time: u32, per_second: u32) -> FetchLimits {
    let others = ShareLimit {
        at_a_time,
        interval: Duration::from_secs(1) / per_second,
    };
    FetchLimits {
        bytes: 20 << 20,
        sites: SiteLimits::new(others, true),
        retry: RETRY,
        ignore_robots: true,
        ..FetchLimits::for_tests()
    }
}

/// How the candidate with this number ended.
#[derive(Debug)]
enum End {
    Fetched,
    GivenUp(String),
    Rejected,
}

/// Handles candidates as the runner does: so many at a time, in their order, and again after a
/// wait. Sends the end of each with its number.
fn handle(
    fetcher: Arc<Fetcher>,
    candidates: Vec<(JobId, Location)>,
) -> mpsc::UnboundedReceiver<(usize, End)> {
    let (send, ends) = mpsc::unbounded_channel();
    let (queue, mut queued) = mpsc::unbounded_channel();
    for number in 0..candidates.len() {
        queue.send((number, 0_u32)).expect("it is open");
    }
    tokio::spawn(async move {
        let in_hand = Arc::new(Semaphore::new(64));
        let candidates = Arc::new(candidates);
        let mut tasks = JoinSet::new();
        while let Some((number, attempts)) = queued.recv().await {
            let permit = in_hand.clone().acquire_owned().await;
            let (fetcher, candidates) = (fetcher.clone(), candidates.clone());
            let (queue, send) = (queue.clone(), send.clone());
            tasks.spawn(async move {
                let (job, location) = &candidates[number];
                let fetched = fetcher.image(*job, location, None).await;
                drop(permit);
                let (after, attempts) = match fetched {
                    Ok(FetchedImage::Bytes { .. } | FetchedImage::Unchanged) => {
                        return drop(send.send((number, End::Fetched)));
                    }
                    Err(FetchError::Rejected(_)) => {
                        return drop(send.send((number, End::Rejected)));
                    }
                    Err(FetchError::Retry { error, .. }) if RETRY.is_last(attempts) => {
                        let said = format!("{error:#}");
                        return drop(send.send((number, End::GivenUp(said))));
                    }
                    Err(FetchError::Retry { after, .. }) => {
                        (RETRY.delay(attempts, after), attempts + 1)
                    }
                    Err(FetchError::Postponed { after, .. }) => (after, attempts),
                    Err(FetchError::Store(error)) => panic!("{error:#}"),
                };
                tokio::time::sleep(after).await;
                let _ = queue.send((number, attempts));
            });
            while tasks.try_join_next().is_some() {}
        }
    });
    ends
}

fn of_one_job(images: impl IntoIterator<Item = Location>) -> Vec<(JobId, Location)> {
    let job = JobId::draw();
    images.into_iter().map(|image| (job, image)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_promise_and_send_nothing_hold_nobody_up() {
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, limits(4, 100)).await;
    let mut silent = vec![];
    for host in 1..=25 {
        silent.push(Server::start([127, 0, 4, host], PROMISE).await);
    }
    let good = Server::start([127, 0, 5, 2], PICTURE).await;
    let bad = (0..100).map(|number| silent[number % 25].image(number));
    let mut candidates = of_one_job(bad);
    candidates.extend(of_one_job((0..50).map(|number| good.image(number))));
    let mut ends = handle(fetcher, candidates);
    for _ in 0..50 {
        let (number, end) = ends.recv().await.unwrap();
        assert!(number >= 100, "a silent host's image came first: {end:?}");
        assert!(matches!(end, End::Fetched), "{end:?}");
    }
    let most = silent.iter().map(Server::asked).max();
    assert_eq!(
        most,
        Some(1),
        "who has never answered is asked one thing at a time"
    );
}

/// How long the `good` host's fifty images take if each of the `bad` hosts has two candidates that
/// came before.
async fn time_of_a_good_job(bad: &[Server], good: &Server) -> Duration {
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, limits(4, 100)).await;
    let before = 2 * bad.len();
    let mut candidates = of_one_job((0..before).map(|number| bad[number / 2].image(number)));
    candidates.extend(of_one_job((0..50).map(|number| good.image(number))));
    let begin = std::time::Instant::now();
    let (mut ends, mut fetched) = (handle(fetcher, candidates), 0);
    while fetched < 50 {
        let (number, end) = ends.recv().await.unwrap();
        if number >= before {
            assert!(matches!(end, End::Fetched), "{end:?}");
            fetched += 1;
        }
    }
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_host_waits_for_no_place_that_silent_hosts_have() {
    let mut silent = vec![];
    for host in 1..=80 {
        silent.push(Server::start([127, 0, 9, host], PROMISE).await);
    }
    let good = Server::start([127, 0, 5, 7], PICTURE).await;
    let took = time_of_a_good_job(&silent, &good).await;
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_an_end_hold_no_bytes_that_others_need() {
    let mut endless = vec![];
    for host in 1..=25 {
        let sends = Sends::Endlessly(&[7; 16 << 10]);
        endless.push(Server::start([127, 0, 10, host], sends).await);
    }
    let picture = vec![7; 500 << 10];
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        picture.len()
    );
    let whole = [head.into_bytes(), picture].concat();
    let good = Server::start([127, 0, 5, 8], Sends::Whole(whole.leak())).await;
    let took = time_of_a_good_job(&endless, &good).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_candidates_of_a_slow_host_wait_elsewhere() {
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, limits(4, 100)).await;
    let slow = Server::start([127, 0, 6, 1], Sends::AndThenNothing("")).await;
    let good = Server::start([127, 0, 5, 3], PICTURE).await;
    let mut candidates = of_one_job((0..1_000).map(|number| slow.image(number)));
    candidates.extend(of_one_job((0..50).map(|number| good.image(number))));
    let mut ends = handle(fetcher, candidates);
    for _ in 0..50 {
        let (number, end) = ends.recv().await.unwrap();
        assert!(number >= 1_000, "the slow host's image came first: {end:?}");
    }
    assert_eq!(slow.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_candidates_of_a_dead_host_come_to_an_end_that_says_why() {
    let environment = Environment::embedded();
    let limits = FetchLimits {
        answer_timeout: Duration::from_millis(100),
        ..limits(4, 100)
    };
    let fetcher = Fetcher::for_tests(&environment, limits).await;
    let dead = Server::start([127, 0, 7, 1], Sends::AndThenNothing("")).await;
    let candidates = of_one_job((0..30).map(|number| dead.image(number)));
    let mut ends = handle(fetcher, candidates);
    for _ in 0..30 {
        let (_, end) = ends.recv().await.unwrap();
        let End::GivenUp(said) = end else {
            panic!("{end:?}");
        };
        assert!(said.contains("no answer within"), "{said}");
    }
    // Each would have been asked for four times. A host that fails is asked less.
    assert!(dead.asked() < 60, "asked {} times", dead.asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_back_is_served_again() {
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, limits(4, 100)).await;
    let address = [127, 0, 7, 2];
    let away = Server::start(address, Sends::Whole(b"HTTP/1.1 503 Busy\r\n\r\n")).await;
    let (port, image) = (away.address.port(), away.image(1));
    let job = JobId::draw();
    let failed = fetcher.image(job, &image, None).await;
    assert!(matches!(failed, Err(FetchError::Retry { .. })));
    let waits = fetcher.image(job, &image, None).await;
    assert!(matches!(waits, Err(FetchError::Postponed { .. })));
    assert_eq!(away.asked(), 1, "it is left alone");
    drop(away);
    let listener = loop {
        // The port is free as soon as the listener's task has ended.
        match std::net::TcpListener::bind((Ipv4Addr::from(address), port)) {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let Sends::Whole(text) = PICTURE else { return };
            let _ = stream.write_all(text);
        }
    });
    let mut ends = handle(fetcher, vec![(job, image)]);
    assert!(matches!(ends.recv().await, Some((0, End::Fetched))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_scrapers_together_keep_the_limits_of_a_site() {
    let environment = Environment::embedded();
    let (one, other) = (
        Fetcher::for_tests(&environment, limits(1, 20)).await,
        Fetcher::for_tests(&environment, limits(1, 20)).await,
    );
    let good = Server::start([127, 0, 5, 4], PICTURE).await;
    let begin = std::time::Instant::now();
    let mut ends = handle(one, of_one_job((0..20).map(|number| good.image(number))));
    let mut others = handle(other, of_one_job((20..40).map(|number| good.image(number))));
    for _ in 0..20 {
        assert!(matches!(ends.recv().await, Some((_, End::Fetched))));
        assert!(matches!(others.recv().await, Some((_, End::Fetched))));
    }
    // 39 times the interval. Two that did not know of each other would take half of this.
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(39 * 50 - 500), "{took:?}");
}

#[tokio::test]
async fn what_a_site_does_not_want_to_be_used_is_not_even_read() {
    let environment = Environment::embedded();
    let promise = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Robots-Tag: noai\r\n\r\n";
    let server = Server::start([127, 0, 5, 5], Sends::AndThenNothing(promise)).await;
    let fetched = Fetcher::for_tests(&environment, limits(4, 100)).await;
    let fetched = fetched.image(JobId::draw(), &server.image(1), None).await;
    let said = "X-Robots-Tag: noai".to_owned();
    assert!(
        matches!(fetched, Err(FetchError::Rejected(Reason::OptedOut { said: found })) if found == said)
    );
    let own_site = FetchLimits {
        ignore_opt_outs: true,
        ..limits(4, 100)
    };
    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-Robots-Tag: noai\r\n\r\npicture";
    let server = Server::start([127, 0, 5, 6], Sends::Whole(whole)).await;
    let fetcher = Fetcher::for_tests(&environment, own_site).await;
    let fetched = fetcher.image(JobId::draw(), &server.image(1), None).await;
    assert!(matches!(fetched, Ok(FetchedImage::Bytes { .. })));
}
