//! Promise 6 in a real Jaeger: every image has one whole trace that says how it went,
//! and so has the job.

use bytes::Bytes;
use maskline_messages::{ImageId, JobId, Queue, topology::headers};
use maskline_runtime::{Envelope, broker::Headers};
use maskline_storage::records::{Candidate, CandidateState};
use maskline_tests::{
    collection::{Collection, End, class},
    jaeger::{Jaeger, Span, missing_parents},
    pictures::{face, jpeg},
    place::Place,
    process::Pipeline,
    site::{Manners, Site},
};
use serde_json::{Value, json};
use uuid::Uuid;

/// What operators are told of spans.
const PAGE: &str = include_str!("../../../docker/observability/README.md");

/// A place whose processes send their spans to Jaeger.
async fn traced(jaeger: &Jaeger) -> Place {
    let mut place = Place::servers().await;
    place.set("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp());
    place.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_and_its_images_traces_are_whole_and_say_how_it_went() {
    let jaeger = Jaeger::from_environment();
    let mut place = traced(&jaeger).await;
    place.set("MASKLINE_RETRY_ATTEMPTS", "3");
    let mut collection = Collection::faces(50_000, 6);
    let copied = End::Rejected("exact_duplicate");
    let (label, copy) = (class(true), jpeg(&face(50_001, true, 120)));
    collection.add("with_mask/copy.jpg".to_owned(), label, copy, copied);
    let page = End::Rejected("not_an_image");
    collection.add("with_mask/page.jpg".to_owned(), label, "<p>".into(), page);
    let collection = collection.with_dead_links();
    let manners = Manners {
        busy_once: ["with_mask/face-0.jpg".to_owned()].into(),
        ..Manners::default()
    };
    let site = Site::serve(&collection, manners).await;
    site.set_busy(["without_mask/face-0.jpg".to_owned()]);
    let poisoned = poison(&place).await;
    let stages = [&Pipeline::STAGES[..], &["trainer"]].concat();
    let pipeline = Pipeline::start(&place, &stages).await;
    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let training = ["--train", "mobilenet_v3_small", "--pixels", "32"];
    let settings = ["--epochs", "2", "--batch", "4"];
    let args = [&args[..], &training, &settings].concat();
    let job = place.json(&args).await.remove(0);
    // A service that stops sends its last spans.
    pipeline.stop().await;

    assert_eq!(job["state"], "done", "{job:#}");
    let images = Images::of(&place, &job).await;
    let job = job["trace_id"].as_str().expect("a traced job").to_owned();
    let trace = jaeger.trace_with(&job, "send storer.jobs", 2).await;
    the_jobs_holds_every_step(&trace);
    is_on_the_page(&trace);
    let stored = images.trace(&jaeger, "with_mask/face-2.jpg").await;
    is_one_way_through_all_stages(&stored, &job);
    follows_the_conventions(&stored);
    is_on_the_page(&stored);
    let looks = [
        ("with_mask/gone.jpg", "scraper", "http_status"),
        ("with_mask/page.jpg", "validator", "not_an_image"),
    ];
    for (path, stage, reason) in looks {
        let trace = images.trace(&jaeger, path).await;
        is_whole(&trace, &job);
        ends_with_the_reason(&trace, stage, reason);
    }
    let twins = ["with_mask/face-1.jpg", "with_mask/copy.jpg"];
    // Which of the two is the copy is decided by who comes first.
    let copy = twins
        .into_iter()
        .find(|path| images.state(path) == CandidateState::Rejected);
    let copy = images.trace(&jaeger, copy.expect("one is")).await;
    ends_with_the_reason(&copy, "labeler", "exact_duplicate");
    let line = images.trace(&jaeger, "list.csv:").await;
    is_whole(&line, &job);
    ends_with_the_reason(&line, "storer", "bad_source_line");
    shows_each_attempt(&images.trace(&jaeger, "with_mask/face-0.jpg").await, 2);
    let given_up = images.trace(&jaeger, "without_mask/face-0.jpg").await;
    is_whole(&given_up, &job);
    is_on_the_page(&given_up);
    shows_each_attempt(&given_up, 3);
    says_what_killed_it(&given_up, "retries_exhausted", "503");
    let poisoned = jaeger
        .trace_with(&poisoned, "process validator.images", 1)
        .await;
    says_what_killed_it(&poisoned, "poison", "can't be read");

    let image = images.of_path("with_mask/face-2.jpg").id.to_string();
    let args = ["trace", &image, "--show", "--jaeger", jaeger.pages()];
    let shown = place.maskline(&args).await;
    for part in [
        "stored",
        jaeger.pages(),
        "GET http",
        "process storer.images",
        "S3/PutObject",
    ] {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
    let told = place.json(&args).await;
    assert_eq!(
        told[0]["spans"].as_array().map(Vec::len),
        Some(stored.len())
    );
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sampled_trace_is_kept_whole_and_another_dropped_whole() {
    const RATIO: f64 = 0.3;
    let jaeger = Jaeger::from_environment();
    let mut place = traced(&jaeger).await;
    place.set("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
    place.set("OTEL_TRACES_SAMPLER_ARG", &RATIO.to_string());
    let collection = Collection::faces(51_000, 30);
    let site = Site::serve(&collection, Manners::default()).await;
    let pipeline = Pipeline::start(&place, &Pipeline::STAGES).await;
    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let job = place.json(&args).await.remove(0);
    pipeline.stop().await;

    let images = Images::of(&place, &job).await;
    let job = job["trace_id"].as_str().expect("a traced job").to_owned();
    let (mut kept, mut dropped) = (0, 0);
    for candidate in &images.0 {
        let id = candidate.trace_id.as_deref().expect("a trace");
        if is_sampled(id, RATIO) {
            kept += 1;
            let trace = jaeger.trace_with(id, "process storer.images", 1).await;
            is_one_way_through_all_stages(&trace, &job);
        } else {
            dropped += 1;
            let torn: Vec<_> = jaeger.trace(id).await.iter().map(Span::described).collect();
            assert!(torn.is_empty(), "{torn:?}");
        }
    }
    assert!(kept > 0 && dropped > 0, "{kept} kept, {dropped} dropped");
    place.remove().await;
}

/// Whether OpenTelemetry's sampler by ratio keeps a trace: the last 63 bits of the id
/// but one are below the ratio.
fn is_sampled(trace: &str, ratio: f64) -> bool {
    let low = u64::from_str_radix(&trace[16..], 16).expect("hexadecimal");
    ((low >> 1) as f64) < ratio * (1_u64 << 63) as f64
}

/// What became of a job's candidates.
struct Images(Vec<Candidate>);

impl Images {
    async fn of(place: &Place, job: &Value) -> Self {
        let catalog = place.stores().await.catalog;
        let id: JobId = job["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id");
        let states = [
            CandidateState::Stored,
            CandidateState::Rejected,
            CandidateState::Failed,
        ];
        let mut all = vec![];
        for state in states {
            let some = catalog.candidates_in(id, state, None, 1_000).await;
            all.extend(some.expect("the catalog answers"));
        }
        Self(all)
    }

    /// The one whose place has this in it.
    fn of_path(&self, path: &str) -> &Candidate {
        let is_it = |candidate: &&Candidate| candidate.location.to_string().contains(path);
        self.0
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("no {path}"))
    }

    fn state(&self, path: &str) -> CandidateState {
        self.of_path(path).state
    }

    async fn trace(&self, jaeger: &Jaeger, path: &str) -> Vec<Span> {
        let id = self.of_path(path).trace_id.as_deref();
        let id = id.unwrap_or_else(|| panic!("{path} has no trace"));
        jaeger.trace_with(id, "process storer.images", 1).await
    }
}

/// A message that nobody can read, in a trace of its own, whose id is returned.
async fn poison(place: &Place) -> String {
    let broker = place.broker().await;
    let trace = Uuid::new_v4().simple().to_string();
    let traceparent = format!("00-{trace}-0123456789abcdef-01");
    let envelope = Envelope {
        key: Queue::ValidatorImages.keys()[0].to_owned(),
        headers: Headers::from([(headers::TRACEPARENT.to_owned(), traceparent)]),
        body: Bytes::from_static(b"{ this is no message"),
    };
    broker
        .publish(envelope)
        .await
        .expect("a broker takes every body");
    broker.close().await;
    trace
}

/// One root, which links to the job's trace, and no parent that is not there.
fn is_whole(trace: &[Span], job: &str) {
    assert_eq!(missing_parents(trace), [""; 0]);
    let roots: Vec<_> = trace.iter().filter(|span| span.parent.is_none()).collect();
    let [root] = &roots[..] else {
        panic!("one root: {roots:#?}");
    };
    assert_eq!(root.links, [job]);
    assert_eq!(root.id, trace[0].id, "it begins first");
}

fn is_one_way_through_all_stages(trace: &[Span], job: &str) {
    is_whole(trace, job);
    // What is asked once for all images is in the trace of whichever came first.
    let once = |span: &Span| {
        let url = span.get("url.full").as_str();
        let robots = url.is_some_and(|url| url.ends_with("/robots.txt"));
        robots || ["find jobs", "find models"].contains(&&*span.name)
    };
    let spans: Vec<&Span> = trace.iter().filter(|span| !once(span)).collect();
    let shown: Vec<_> = spans
        .iter()
        .map(|span| (span.kind(), span.described()))
        .collect();
    let shown: Vec<_> = shown
        .iter()
        .map(|(kind, name)| (*kind, name.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("producer", "scraper: send scraper.candidates"),
            ("consumer", "scraper: process scraper.candidates"),
            ("client", "scraper: GET"),
            ("client", "scraper: S3/PutObject"),
            ("producer", "scraper: send validator.images"),
            ("consumer", "validator: process validator.images"),
            ("client", "validator: S3/GetObject"),
            ("client", "validator: S3/PutObject"),
            ("producer", "validator: send labeler.images"),
            ("consumer", "labeler: process labeler.images"),
            ("client", "labeler: findAndModify claims"),
            ("producer", "labeler: send storer.images"),
            ("consumer", "storer: process storer.images"),
            ("client", "storer: S3/GetObject"),
            ("client", "storer: update images"),
            ("client", "storer: update candidates"),
        ]
    );
    // Hops follow each other; what a stage does is below its own.
    let mut hop: Option<&Span> = None;
    for span in spans {
        let parent = hop.map(|hop| hop.id.as_str());
        assert_eq!(span.parent.as_deref(), parent, "{}", span.described());
        if span.is_hop() {
            hop = Some(span);
        }
    }
}

/// What Jaeger itself makes of a span's kind, status and origin.
const JAEGERS: [&str; 6] = [
    "span.kind",
    "error",
    "internal.span.format",
    "otel.scope.name",
    "otel.status_code",
    "otel.status_description",
];

/// No span says what the page doesn't.
fn is_on_the_page(trace: &[Span]) {
    for span in trace {
        let on_events = span
            .events
            .iter()
            .flat_map(|(_, attributes)| attributes.keys());
        for name in span
            .attributes
            .keys()
            .chain(on_events.filter(|name| *name != "event"))
        {
            let told = JAEGERS.contains(&name.as_str()) || PAGE.contains(&format!("`{name}`"));
            assert!(told, "{name} of {} is not on the page", span.described());
        }
    }
}

fn follows_the_conventions(trace: &[Span]) {
    let mut message = Value::Null;
    for span in trace {
        let what = span.described();
        let has = |name: &str, value: Value| assert_eq!(span.get(name), &value, "{name} of {what}");
        let names = |name: &str| assert!(span.get(name).is_string(), "{name} of {what}");
        let counts = |name: &str| assert!(span.get(name).as_u64() > Some(0), "{name} of {what}");
        match span.kind() {
            "producer" | "consumer" => {
                let (operation, queue) = span.name.split_once(' ').expect("two words");
                let key = span.get("messaging.rabbitmq.destination.routing_key");
                let key = key.as_str().expect("a routing key");
                assert_eq!(Queue::of_key(key).map(Queue::name), Some(queue));
                has("messaging.system", "rabbitmq".into());
                has("messaging.operation.name", operation.into());
                has("messaging.operation.type", operation.into());
                has("server.address", "127.0.0.1".into());
                counts("server.port");
                counts("messaging.message.body.size");
                names("maskline.candidate.id");
                names("maskline.job.id");
                if span.kind() == "producer" {
                    has(
                        "messaging.destination.name",
                        format!("maskline:{key}").into(),
                    );
                    message = span.get("messaging.message.id").clone();
                    assert!(message.is_string(), "{what}");
                } else {
                    let destination = format!("maskline:{key}:{queue}");
                    has("messaging.destination.name", destination.into());
                    has("messaging.message.id", message.clone());
                    let stage = queue.split('.').next();
                    has("messaging.consumer.group.name", stage.into());
                    has("maskline.attempt", 1.into());
                }
            }
            _ if span.name == "GET" => {
                has("http.request.method", "GET".into());
                has("server.address", "127.0.0.1".into());
                counts("server.port");
                counts("http.response.status_code");
                names("url.full");
            }
            _ if span.name.starts_with("S3/") => {
                has("rpc.system.name", "aws-api".into());
                has("rpc.method", span.name.as_str().into());
                for name in [
                    "aws.s3.bucket",
                    "aws.s3.key",
                    "cloud.region",
                    "server.address",
                ] {
                    names(name);
                }
                counts("server.port");
            }
            _ => {
                let named = format!(
                    "{} {}",
                    span.get("db.operation.name").as_str().unwrap_or_default(),
                    span.get("db.collection.name").as_str().unwrap_or_default()
                );
                assert_eq!(span.name, named);
                has("db.system.name", "mongodb".into());
                names("db.namespace");
                names("server.address");
                counts("server.port");
            }
        }
    }
    let key = |image: &str| format!("raw/{}/{image}", &image[..2]);
    let raw = trace
        .iter()
        .find_map(|span| span.get("aws.s3.key").as_str());
    let image = ImageId::of(&jpeg(&face(50_002, true, 120))).to_string();
    assert!(
        raw.is_some_and(|raw| raw.ends_with(&key(&image))),
        "{raw:?}"
    );
}

/// The stage says it in its own span, and so does the last.
fn ends_with_the_reason(trace: &[Span], stage: &str, reason: &str) {
    let service = format!("maskline-{stage}");
    let by_stage = trace
        .iter()
        .find(|span| span.service == service && span.kind() == "consumer");
    let hops = trace.iter().filter(|span| span.is_hop());
    let last = hops.max_by_key(|span| span.start);
    for span in [by_stage, last] {
        let span = span.unwrap_or_else(|| panic!("{stage} is not in {trace:#?}"));
        assert_eq!(span.get("maskline.rejection.reason"), reason);
        let event = span.event("rejected").expect("it says so");
        assert!(event["maskline.rejection.detail"].is_string(), "{event:?}");
        assert_ne!(span.get("error"), true, "it is no error");
    }
    assert_eq!(last.map(|span| &*span.name), Some("process storer.images"));
}

fn shows_each_attempt(trace: &[Span], attempts: usize) {
    let name = "process scraper.candidates";
    let tried: Vec<_> = trace.iter().filter(|span| span.name == name).collect();
    let numbers: Vec<_> = tried
        .iter()
        .map(|span| span.get("maskline.attempt").clone())
        .collect();
    let expected: Vec<_> = (1..=attempts).map(|n| json!(n)).collect();
    assert_eq!(numbers, expected);
    for attempt in &tried {
        assert_eq!(attempt.parent, tried[0].parent);
    }
    for failed in &tried[..attempts - 1] {
        let exception = failed.event("exception").expect("it says why");
        let message = exception["exception.message"].as_str().expect("text");
        assert!(message.contains("503"), "{message}");
        assert!(failed.event("retry").is_some());
    }
}

fn says_what_killed_it(trace: &[Span], kind: &str, error: &str) {
    let dead = trace.iter().filter(|span| span.get("error.type") == kind);
    let dead: Vec<_> = dead.collect();
    let [dead] = &dead[..] else {
        panic!("one: {trace:#?}");
    };
    assert_eq!(dead.get("error"), true);
    let exception = dead.event("exception").expect("it says why");
    assert_eq!(exception["exception.type"], kind);
    let message = exception["exception.message"].as_str().expect("text");
    assert!(message.contains(error), "{message}");
}

fn the_jobs_holds_every_step(trace: &[Span]) {
    assert_eq!(missing_parents(trace), [""; 0]);
    let roots: Vec<_> = trace.iter().filter(|span| span.parent.is_none()).collect();
    assert_eq!(roots.len(), 1, "{roots:#?}");
    let named = |name: &str| {
        let named: Vec<_> = trace.iter().filter(|span| span.name == name).collect();
        assert!(!named.is_empty(), "no {name}");
        named
    };
    let follows = |later: &str, earlier: &str| {
        let later = named(later);
        let parents = named(earlier);
        for span in later {
            let is_below = parents
                .iter()
                .any(|parent| span.parent.as_ref() == Some(&parent.id));
            assert!(is_below, "{} is not below {earlier}", span.described());
        }
    };
    assert_eq!(roots[0].described(), "maskline: enqueue");
    follows("send scraper.sources", "enqueue");
    follows("process scraper.sources", "send scraper.sources");
    follows("process storer.jobs", "send storer.jobs");
    follows("freeze", "enqueue");
    follows("send trainer.requests", "freeze");
    follows("process trainer.requests", "send trainer.requests");
    follows("train", "process trainer.requests");
    follows("epoch", "train");
    let epochs = named("epoch");
    assert_eq!(epochs.len(), 2);
    for (n, epoch) in (1..).zip(epochs) {
        assert_eq!(epoch.get("maskline.epoch"), n);
        for name in ["maskline.validation.loss", "maskline.validation.accuracy"] {
            assert!(epoch.get(name).is_number(), "{name}: {epoch:#?}");
        }
    }
    let run = named("train")[0];
    assert_eq!(run.get("maskline.network"), "mobilenet_v3_small");
    assert!(run.get("maskline.run.id").is_string());
}
