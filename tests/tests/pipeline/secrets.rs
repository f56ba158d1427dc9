//! Nobody reads a secret off what maskline says: its logs, traces and metrics, the
//! command lines of its processes, what its commands print, and its errors.

use std::fs;

use maskline_tests::{
    collection::{Collection, End, class},
    collector::Collector,
    pictures::{face, jpeg},
    place::Place,
    process::{Pipeline, Process},
    site::{Manners, Site},
};

/// In no word that anybody would say.
const BROKER: &str = "hunter2-of-the-broker";
const SITE: &str = "hunter2-of-the-site";
const ADDRESS: &str = "hunter2-of-an-address";
const ANY: &str = "hunter2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_said() {
    let mut place = Place::servers().await;
    place.log_in_with(BROKER).await;
    let collector = Collector::start().await;
    place.trace_to(&collector);
    place.set("RUST_LOG", "trace");
    place.set("MASKLINE_RETRY_BASE", "0.001");

    let site = Site::serve(&collection(), busy()).await;
    let list = place.folder().join("list.csv");
    fs::write(&list, lines(&site)).expect("the test's own folder");
    let mut services = vec![];
    for name in Pipeline::STAGES {
        services.push(Process::start(&place, name).await);
    }
    let list = list.display().to_string();
    let job = place
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;
    let job = job.to_string();

    let mut said = vec![];
    let ended = place.json(&["status", &job, "--watch"]).await.pop();
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
        let ended = place.run(args, &[]).await;
        assert!(ended.well, "{args:?}: {ended:?}");
        said.push((
            format!("maskline {}", args.join(" ")),
            ended.out + &ended.err,
        ));
    }
    // Each of these fails, and says why.
    let amqp = format!("amqp://me:{ADDRESS}@127.0.0.1:1/%2f");
    let mongodb = format!("mongodb://me:{ADDRESS}@127.0.0.1:1/maskline");
    let broken = format!("mongodb://me:{ADDRESS}/@127.0.0.1/x");
    for (variable, address) in [
        ("MASKLINE_BROKER", &amqp),
        ("MASKLINE_CATALOG", &mongodb),
        ("MASKLINE_CATALOG", &broken),
    ] {
        let variables = [(variable.to_owned(), address.clone())];
        let ended = place.run(&["enqueue", "urls", &list], &variables).await;
        assert!(
            !ended.well && !ended.err.is_empty(),
            "{variable}: {ended:?}"
        );
        said.push((variable.to_owned(), ended.out + &ended.err));
    }
    let flag = place.run(&["status", "--broker", &amqp], &[]).await;
    assert!(!flag.well, "a password as a flag: {flag:?}");
    said.push(("a password as a flag".to_owned(), flag.out + &flag.err));

    for process in &mut services {
        let name = process.name().to_owned();
        let (_, metrics) = process.get("/metrics").await;
        said.push((format!("{name}'s metrics"), metrics));
        let about = format!("/proc/{}", process.id());
        for file in ["cmdline", "comm"] {
            let text = fs::read_to_string(format!("{about}/{file}"));
            said.push((format!("{name}'s {file}"), text.expect("it runs, on Linux")));
        }
        assert!(process.stop().await.success());
        let log = process.said();
        assert!(log.len() > 10_000, "{name} said nearly nothing: {log}");
        said.push((format!("{name}'s log"), log));
    }
    let spans = collector.named("");
    assert!(
        spans
            .iter()
            .any(|span| span.attribute("url.full").is_some())
    );
    // The messages of errors and the details of rejections.
    for event in ["exception", "rejected"] {
        assert!(spans.iter().any(|span| span.has_event(event)), "no {event}");
    }
    said.extend(spans.iter().map(|span| (span.name.clone(), span.said())));

    let s3 = std::env::var("AWS_SECRET_ACCESS_KEY").expect("tests/run sets it");
    for (who, text) in &said {
        for secret in [ANY, &s3] {
            if let Some(at) = text.find(secret) {
                let around = text.get(at.saturating_sub(300)..at + secret.len());
                panic!("{who} says {secret}: …{}", around.unwrap_or_default());
            }
        }
    }
    place.remove().await;
}

fn collection() -> Collection {
    let mut collection = Collection::default();
    for n in [0, 1] {
        let file = jpeg(&face(40_000 + n, true, 120));
        collection.add(format!("{n}.jpg"), class(true), file, End::Stored);
    }
    collection
}

/// One picture is asked for twice.
fn busy() -> Manners {
    Manners {
        busy_once: ["1.jpg".to_owned()].into(),
        ..Manners::default()
    }
}

/// Two pictures, one that is not there, and two addresses where nobody answers.
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
