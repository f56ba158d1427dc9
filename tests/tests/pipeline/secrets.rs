//! No secret is in anything that maskline shows: its logs, traces and metrics, the command
//! lines of its processes, the output of its commands, and its errors.

use std::fs;

use maskline_test_support::{collector::Collector, environment::Environment};
use maskline_tests::{
    collection::{Collection, EndState, class},
    pictures::{face, jpeg},
    process::{Pipeline, Process},
    site::{Behaviour, Site},
};

/// The passwords. No other text contains their common part.
const BROKER: &str = "hunter2-of-the-broker";
const SITE: &str = "hunter2-of-the-site";
const ADDRESS: &str = "hunter2-of-an-address";
const ANY: &str = "hunter2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_shown_anywhere() {
    let mut environment = Environment::servers().await;
    environment.log_in_with(BROKER).await;
    let collector = Collector::start().await;
    environment.trace_to(&collector);
    environment.set("RUST_LOG", "trace");
    environment.set("MASKLINE_RETRY_BASE", "0.001");

    let site = Site::serve(&collection(), busy()).await;
    let list = environment.folder().join("list.csv");
    fs::write(&list, lines(&site)).expect("the test's own folder");
    let mut services = vec![];
    for name in Pipeline::STAGES {
        services.push(Process::start(&environment, name).await);
    }
    let list = list.display().to_string();
    let job = environment
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;
    let job = job.to_string();

    let mut shown = vec![];
    let ended = environment.json(&["status", &job, "--watch"]).await.pop();
    let ended = ended.expect("the job");
    for (count, expected) in [("found", 5), ("stored", 2), ("rejected", 1), ("failed", 2)] {
        assert_eq!(ended[count], expected, "{ended}");
    }
    for args in [
        &["status", &job, "--json"][..],
        &["status", &job],
        &["rejects", &job],
        &["dead-letters", "list"],
        &["trace", &job],
    ] {
        let output = environment.run(args, &[]).await;
        assert!(output.success, "{args:?}: {output:?}");
        shown.push((
            format!("maskline {}", args.join(" ")),
            output.stdout + &output.stderr,
        ));
    }
    // Each of these fails with an error.
    let amqp = format!("amqp://me:{ADDRESS}@127.0.0.1:1/%2f");
    let mongodb = format!("mongodb://me:{ADDRESS}@127.0.0.1:1/maskline");
    let broken = format!("mongodb://me:{ADDRESS}/@127.0.0.1/x");
    for (variable, address) in [
        ("MASKLINE_BROKER", &amqp),
        ("MASKLINE_CATALOG", &mongodb),
        ("MASKLINE_CATALOG", &broken),
    ] {
        let variables = [(variable.to_owned(), address.clone())];
        let output = environment
            .run(&["enqueue", "urls", &list], &variables)
            .await;
        assert!(
            !output.success && !output.stderr.is_empty(),
            "{variable}: {output:?}"
        );
        shown.push((variable.to_owned(), output.stdout + &output.stderr));
    }
    let flag = environment.run(&["status", "--broker", &amqp], &[]).await;
    assert!(!flag.success, "a password as a flag: {flag:?}");
    shown.push((
        "a password as a flag".to_owned(),
        flag.stdout + &flag.stderr,
    ));

    for process in &mut services {
        let name = process.name().to_owned();
        let (_, metrics) = process.get("/metrics").await;
        shown.push((format!("{name}'s metrics"), metrics));
        let about = format!("/proc/{}", process.id());
        for file in ["cmdline", "comm"] {
            let text = fs::read_to_string(format!("{about}/{file}"));
            shown.push((format!("{name}'s {file}"), text.expect("it runs, on Linux")));
        }
        assert!(process.stop().await.success());
        let log = process.log();
        assert!(log.len() > 10_000, "{name} logged nearly nothing: {log}");
        shown.push((format!("{name}'s log"), log));
    }
    let spans = collector.named("");
    assert!(spans.iter().any(|span| span.text("url.full").is_some()));
    // These events have the messages of errors and the details of rejections.
    for event in ["exception", "rejected"] {
        assert!(
            spans.iter().any(|span| span.event(event).is_some()),
            "no {event}"
        );
    }
    shown.extend(
        spans
            .iter()
            .map(|span| (span.name.clone(), format!("{span:?}"))),
    );

    let s3 = std::env::var("AWS_SECRET_ACCESS_KEY").expect("tests/run sets it");
    for (source, text) in &shown {
        for secret in [ANY, &s3] {
            if let Some(at) = text.find(secret) {
                let around = text.get(at.saturating_sub(300)..at + secret.len());
                panic!("{source} shows {secret}: …{}", around.unwrap_or_default());
            }
        }
    }
    environment.remove().await;
}

fn collection() -> Collection {
    let mut collection = Collection::default();
    for n in [0, 1] {
        let file = jpeg(&face(40_000 + n, true, 120));
        collection.add(format!("{n}.jpg"), class(true), file, EndState::Stored);
    }
    collection
}

/// One picture is fetched twice, because its first request fails.
fn busy() -> Behaviour {
    Behaviour {
        busy_once: ["1.jpg".to_owned()].into(),
        ..Behaviour::default()
    }
}

/// A list with two pictures, one address without a picture, and two addresses where no server
/// listens.
fn lines(site: &Site) -> String {
    let address = site.list();
    let site = address.strip_prefix("http://").expect("it serves HTTP");
    let site = site.rsplit_once('/').map_or(site, |(site, _)| site);
    let at = |host: &str, path: &str| format!("http://me:{SITE}@{host}/{path}?token={SITE}&w=2");
    let lines = [
        at(site, "0.jpg"),
        at(site, "1.jpg"),
        at(site, "gone.jpg"),
        at("127.0.0.1:1", "2.jpg"),
        at("127.0.0.1:1", "3.jpg"),
    ];
    let lines = lines.map(|url| format!("{url},with_mask\n"));
    format!("url,label\n{}", lines.concat())
}
