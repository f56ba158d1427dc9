//! The HTTP port.

use std::net::SocketAddr;

use maskline_messages::{CandidateFound, JobId};
use maskline_runtime::{Failure, HttpAddress, Outcome, Runner, Service};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    harness::{Harness, candidate, rejection, stub, within},
    watched::Event,
};

/// The status and the body of `GET path`.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("the port listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    let read = within(stream.read_to_string(&mut answer)).await;
    read.expect("it answers in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_owned())
}

fn idle(name: &'static str) -> Service {
    stub(name, |_: CandidateFound, _| async { Ok(Outcome::done()) })
}

#[tokio::test]
async fn a_service_that_reaches_everything_is_alive_and_ready() {
    let harness = Harness::new().await;
    let service = idle("reaching").probe("objects", || async { Ok(()) });
    let running = harness.start(vec![service]).await;

    assert_eq!(get(running.address, "/healthz").await.0, 200);
    let (status, body) = get(running.address, "/readyz").await;
    assert_eq!((status, body.as_str()), (200, r#"{"ready":true}"#));
    running.stop().await;
}

#[tokio::test]
async fn a_service_names_what_it_does_not_reach_and_is_not_ready() {
    let harness = Harness::new().await;
    let service = idle("unreaching")
        .probe("objects", || async { Ok(()) })
        .probe("catalog", || async {
            Err(anyhow::anyhow!("connection refused"))
        });
    let running = harness.start(vec![service]).await;

    assert_eq!(get(running.address, "/healthz").await.0, 200);
    let (status, body) = get(running.address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains(r#""catalog":"connection refused""#), "{body}");
    assert!(
        !body.contains("objects") && !body.contains("broker"),
        "{body}"
    );
    running.stop().await;
}

#[tokio::test]
async fn the_metrics_count_every_outcome_of_a_message() {
    let mut harness = Harness::new().await;
    harness.args.retry.attempts = 2;
    let stage = stub("counting", |found: CandidateFound, context| async move {
        match found.location.to_string().as_str() {
            "photos/0.jpg" => Ok(Outcome::done()),
            "photos/1.jpg" => Ok(Outcome::send(rejection(&found))),
            "photos/2.jpg" => Err(Failure::poison(anyhow::anyhow!("bug"))),
            _ if context.attempts == 0 => Err(Failure::retry(anyhow::anyhow!("not yet"))),
            _ => Ok(Outcome::done()),
        }
    });
    let running = harness.start(vec![stage]).await;
    let job = JobId::draw();

    for (n, events) in [(0, 1), (1, 2), (2, 2), (3, 2)] {
        harness.send(candidate(job, n)).await;
        for _ in 0..events {
            harness.next().await;
        }
    }
    let labels = r#"stage="counting",queue="scraper.candidates""#;
    // A message is counted before it is no longer in flight.
    let all_counted = format!("maskline_messages_in_flight{{{labels}}} 0");
    let counted = async {
        loop {
            let text = get(running.address, "/metrics").await.1;
            if text.contains(&all_counted) {
                return text;
            }
        }
    };
    let text = within(counted).await;
    running.stop().await;

    for line in [
        format!("maskline_messages_handled_total{{{labels}}} 3"),
        format!("maskline_images_rejected_total{{{labels},reason=\"empty\"}} 1"),
        format!("maskline_messages_retried_total{{{labels}}} 1"),
        format!("maskline_messages_dead_lettered_total{{{labels},kind=\"poison\"}} 1"),
        format!("maskline_messages_dead_lettered_total{{{labels},kind=\"retries_exhausted\"}} 0"),
        format!("maskline_messages_released_total{{{labels}}} 0"),
        format!("maskline_handle_seconds_count{{{labels}}} 5"),
        // A retry is no first handling.
        format!("maskline_wait_seconds_count{{{labels}}} 4"),
        format!("maskline_concurrency{{{labels}}} 2"),
        "maskline_queue_messages{queue=\"scraper.candidates\"} 0".to_owned(),
        "maskline_queue_messages{queue=\"maskline.dead-letters\"} 1".to_owned(),
    ] {
        assert!(text.contains(&line), "no {line} in\n{text}");
    }
    assert!(
        text.contains("# TYPE maskline_handle_seconds histogram"),
        "{text}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_the_flag() {
    let harness = Harness::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let mut args = harness.args.clone();
    args.http = HttpAddress::At(address);

    let bound = Runner::bind(vec![idle("unbound")], &args, harness.broker.clone()).await;

    let error = format!("{:#}", bound.err().expect("the port is taken"));
    assert!(error.contains("--http"), "{error}");
    assert!(error.contains(&address.to_string()), "{error}");
    assert!(error.contains("in use"), "{error}");
}

#[tokio::test]
async fn while_stopping_a_service_is_not_ready() {
    let mut harness = Harness::new().await;
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let go_on = std::sync::Arc::new(tokio::sync::Notify::new());
    let waits_for = go_on.clone();
    let stage = stub("leaving", move |_: CandidateFound, _| {
        let (began, go_on) = (began.clone(), waits_for.clone());
        async move {
            let _ = began.send(());
            go_on.notified().await;
            Ok(Outcome::done())
        }
    });
    let running = harness.start(vec![stage]).await;
    harness.send(candidate(JobId::draw(), 1)).await;
    within(begun.recv()).await;

    running.stop.cancel();

    let (status, body) = get(running.address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("stopping"), "{body}");
    go_on.notify_one();
    running.stop().await;
    assert_eq!(harness.next().await, Event::Acked);
}

/// How many connections are opened and asked nothing, more than the port keeps.
const HALF_REQUESTS: usize = 200;

/// A connection on which a request begins that is never ended.
async fn half_request(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("the port listens");
    let begin = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: te").await;
    begin.expect("it reads");
    stream
}

/// Waits until the service closes the connection. What it says before is left out.
async fn closed(mut stream: TcpStream) {
    let mut said = vec![];
    // A connection that is closed while something was not read is reset.
    let _ = within(stream.read_to_end(&mut said)).await;
}

#[tokio::test]
async fn half_requests_shut_out_nobody_and_are_ended() {
    let harness = Harness::new().await;
    let running = harness.start(vec![idle("besieged")]).await;
    let mut halves = vec![];
    for _ in 0..HALF_REQUESTS {
        halves.push(half_request(running.address).await);
    }
    let newest = halves.pop().expect("there are some");
    // The oldest ones give way to the newer ones.
    for half in halves.drain(..HALF_REQUESTS / 2) {
        closed(half).await;
    }
    assert_eq!(get(running.address, "/healthz").await.0, 200);
    // The newest one ends because its head does not come.
    closed(newest).await;
    assert_eq!(get(running.address, "/readyz").await.0, 200);
    running.stop().await;
}
