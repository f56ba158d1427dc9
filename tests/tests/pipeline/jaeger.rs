//! Traces in a real Jaeger: every image has one whole trace that shows what became of it,
//! and so has the job.

use maskline_messages::{ImageId, JobId, Queue};
use maskline_storage::records::{Candidate, CandidateState};
use maskline_test_support::{
    environment::Environment,
    jaeger::Jaeger,
    publish,
    span::{Span, SpanKind, missing_parents},
};
use maskline_tests::{
    collection::{Collection, EndState, class},
    pictures::{face, jpeg},
    process::{Pipeline, SERVICES},
    site::{Behaviour, Site},
};
use serde_json::{Value, json};

/// The page for operators, which describes the spans.
const PAGE: &str = include_str!("../../../docker/observability/README.md");

/// An environment whose processes send their spans to Jaeger.
async fn traced(jaeger: &Jaeger) -> Environment {
    let mut environment = Environment::servers().await;
    environment.set("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp());
    environment.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    environment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_traces_of_a_job_and_its_images_are_whole_and_show_what_happened() {
    let jaeger = Jaeger::from_environment();
    let mut environment = traced(&jaeger).await;
    environment.set("MASKLINE_RETRY_ATTEMPTS", "3");
    let mut collection = Collection::faces(50_000, 6);
    let copied = EndState::Rejected("exact_duplicate");
    let (label, copy) = (class(true), jpeg(&face(50_001, true, 120)));
    collection.add("with_mask/copy.jpg".to_owned(), label, copy, copied);
    let page = EndState::Rejected("not_an_image");
    collection.add("with_mask/page.jpg".to_owned(), label, "<p>".into(), page);
    let collection = collection.with_dead_links();
    let behaviour = Behaviour {
        busy_once: ["with_mask/face-0.jpg".to_owned()].into(),
        ..Behaviour::default()
    };
    let site = Site::serve(&collection, behaviour).await;
    site.set_busy(["without_mask/face-0.jpg".to_owned()]);
    let broker = environment.broker().await;
    let queue = Queue::ValidatorImages;
    let poison = publish::raw_in_new_trace(&*broker, queue, publish::UNREADABLE).await;
    broker.close().await;
    let pipeline = Pipeline::start(&environment, &SERVICES).await;
    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let training = ["--train", "mobilenet_v3_small", "--pixels", "32"];
    let settings = ["--epochs", "2", "--batch", "4"];
    let args = [&args[..], &training, &settings].concat();
    let job = environment.json(&args).await.remove(0);
    // A service sends its last spans when it stops.
    pipeline.stop().await;

    assert_eq!(job["state"], "done", "{job:#}");
    let images = Images::of(&environment, &job).await;
    let job = job["trace_id"].as_str().expect("a traced job").to_owned();
    let trace = jaeger.trace_with(&job, "send storer.jobs", 2).await;
    assert_shows_every_step(&trace);
    assert_on_the_page(&trace);
    let stored = images.trace(&jaeger, "with_mask/face-2.jpg").await;
    assert_goes_through_all_stages(&stored, &job);
    assert_follows_the_conventions(&stored);
    assert_on_the_page(&stored);
    let rejected = [
        ("with_mask/gone.jpg", "scraper", "http_status"),
        ("with_mask/page.jpg", "validator", "not_an_image"),
    ];
    for (path, stage, reason) in rejected {
        let trace = images.trace(&jaeger, path).await;
        assert_whole(&trace, &job);
        assert_ends_with_the_reason(&trace, stage, reason);
    }
    let twins = ["with_mask/face-1.jpg", "with_mask/copy.jpg"];
    // Whichever of the two came later is the copy.
    let copy = twins
        .into_iter()
        .find(|path| images.state(path) == CandidateState::Rejected);
    let copy = images
        .trace(&jaeger, copy.expect("one of them is rejected"))
        .await;
    assert_ends_with_the_reason(&copy, "labeler", "exact_duplicate");
    let line = images.trace(&jaeger, "list.csv:").await;
    assert_whole(&line, &job);
    assert_ends_with_the_reason(&line, "storer", "bad_source_line");
    assert_shows_each_attempt(&images.trace(&jaeger, "with_mask/face-0.jpg").await, 2);
    let failed = images.trace(&jaeger, "without_mask/face-0.jpg").await;
    assert_whole(&failed, &job);
    assert_on_the_page(&failed);
    assert_shows_each_attempt(&failed, 3);
    assert_shows_the_error(&failed, "retries_exhausted", "503");
    let poisoned = jaeger
        .trace_with(&poison, "process validator.images", 1)
        .await;
    assert_shows_the_error(&poisoned, "poison", "can't be read");

    let image = images.of_path("with_mask/face-2.jpg").id.to_string();
    let args = ["trace", &image, "--show", "--jaeger", jaeger.pages()];
    let shown = environment.maskline(&args).await;
    for part in [
        "stored",
        jaeger.pages(),
        "GET http",
        "process storer.images",
        "S3/PutObject",
    ] {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
    let printed = environment.json(&args).await;
    assert_eq!(
        printed[0]["spans"].as_array().map(Vec::len),
        Some(stored.len())
    );
    environment.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_is_sampled_as_a_whole_or_not_at_all() {
    const RATIO: f64 = 0.3;
    let jaeger = Jaeger::from_environment();
    let mut environment = traced(&jaeger).await;
    environment.set("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
    environment.set("OTEL_TRACES_SAMPLER_ARG", &RATIO.to_string());
    let collection = Collection::faces(51_000, 30);
    let site = Site::serve(&collection, Behaviour::default()).await;
    let pipeline = Pipeline::start(&environment, &Pipeline::STAGES).await;
    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let job = environment.json(&args).await.remove(0);
    pipeline.stop().await;

    let images = Images::of(&environment, &job).await;
    let job = job["trace_id"].as_str().expect("a traced job").to_owned();
    let (mut kept, mut dropped) = (0, 0);
    for candidate in &images.0 {
        let id = candidate.trace_id.as_deref().expect("a trace");
        if is_sampled(id, RATIO) {
            kept += 1;
            let trace = jaeger.trace_with(id, "process storer.images", 1).await;
            assert_goes_through_all_stages(&trace, &job);
        } else {
            dropped += 1;
            let spans = jaeger.trace(id).await;
            let titles: Vec<_> = spans.iter().map(Span::title).collect();
            assert!(titles.is_empty(), "{titles:?}");
        }
    }
    assert!(kept > 0 && dropped > 0, "{kept} kept, {dropped} dropped");
    environment.remove().await;
}

/// Returns whether OpenTelemetry's sampler by ratio keeps a trace. It compares the last 64 bits
/// of the id, without the lowest one, with the ratio.
fn is_sampled(trace: &str, ratio: f64) -> bool {
    let low = u64::from_str_radix(&trace[16..], 16).expect("hexadecimal");
    ((low >> 1) as f64) < ratio * (1_u64 << 63) as f64
}

/// A job's candidates.
struct Images(Vec<Candidate>);

impl Images {
    async fn of(environment: &Environment, job: &Value) -> Self {
        let catalog = environment.stores().await.catalog;
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

    /// The candidate whose location contains this text.
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

/// The trace must have one root, which links to the job's trace, and every parent.
fn assert_whole(trace: &[Span], job: &str) {
    assert_eq!(missing_parents(trace), [""; 0]);
    let roots: Vec<_> = trace.iter().filter(|span| span.parent.is_none()).collect();
    let [root] = &roots[..] else {
        panic!("there must be one root: {roots:#?}");
    };
    assert_eq!(root.links, [job]);
    assert_eq!(root.id, trace[0].id, "the root starts first");
}

fn assert_goes_through_all_stages(trace: &[Span], job: &str) {
    use SpanKind::{Client, Consumer, Producer};

    assert_whole(trace, job);
    // A request that is made once for all images is in the trace of the first of them.
    let once = |span: &Span| {
        let url = span.get("url.full").as_str();
        let robots = url.is_some_and(|url| url.ends_with("/robots.txt"));
        robots || ["find collections", "find models"].contains(&&*span.name)
    };
    // An image may have waited for its host's turn, each time in a span of its own.
    let spans = trace.iter();
    let spans: Vec<&Span> = spans
        .filter(|span| !once(span) && !span.is_postponed())
        .collect();
    let shown: Vec<_> = spans.iter().map(|span| (span.kind, span.title())).collect();
    let shown: Vec<_> = shown
        .iter()
        .map(|(kind, name)| (*kind, name.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (Producer, "scraper: send scraper.candidates"),
            (Consumer, "scraper: process scraper.candidates"),
            (Client, "scraper: GET"),
            (Client, "scraper: S3/PutObject"),
            (Producer, "scraper: send validator.images"),
            (Consumer, "validator: process validator.images"),
            (Client, "validator: S3/GetObject"),
            (Client, "validator: S3/PutObject"),
            (Producer, "validator: send labeler.images"),
            (Consumer, "labeler: process labeler.images"),
            (Client, "labeler: findAndModify claims"),
            (Producer, "labeler: send storer.images"),
            (Consumer, "storer: process storer.images"),
            (Client, "storer: S3/GetObject"),
            // Whether a person has removed the image, before it is written and after that.
            (Client, "storer: find claims"),
            (Client, "storer: update images"),
            (Client, "storer: find claims"),
            (Client, "storer: update candidates"),
        ]
    );
    // Each hop is below the hop before it, and what a stage does is below the stage's hop.
    let mut hop: Option<&Span> = None;
    for span in spans {
        let parent = hop.map(|hop| hop.id.as_str());
        assert_eq!(span.parent.as_deref(), parent, "{}", span.title());
        if span.is_hop() {
            hop = Some(span);
        }
    }
}

/// The attribute in which Jaeger itself says what seems odd to it, such as a parent that it
/// does not have.
const ADDED_BY_JAEGER: &str = "@jaeger@warnings";

/// The page must describe every attribute of every span.
fn assert_on_the_page(trace: &[Span]) {
    for span in trace {
        let on_events = span.events.iter().flat_map(|event| event.attributes.keys());
        for name in span.attributes.keys().chain(on_events) {
            let is_known = name == ADDED_BY_JAEGER || PAGE.contains(&format!("`{name}`"));
            assert!(is_known, "{name} of {} is not on the page", span.title());
        }
    }
}

fn assert_follows_the_conventions(trace: &[Span]) {
    let mut message = Value::Null;
    for span in trace {
        let title = span.title();
        let has =
            |name: &str, value: Value| assert_eq!(span.get(name), &value, "{name} of {title}");
        let has_text = |name: &str| assert!(span.get(name).is_string(), "{name} of {title}");
        let is_positive =
            |name: &str| assert!(span.get(name).as_u64() > Some(0), "{name} of {title}");
        match span.kind {
            SpanKind::Producer | SpanKind::Consumer => {
                let (operation, queue) = span.name.split_once(' ').expect("two words");
                let key = span.get("messaging.rabbitmq.destination.routing_key");
                let key = key.as_str().expect("a routing key");
                assert_eq!(Queue::of_key(key).map(Queue::name), Some(queue));
                has("messaging.system", "rabbitmq".into());
                has("messaging.operation.name", operation.into());
                has("messaging.operation.type", operation.into());
                has("server.address", "127.0.0.1".into());
                is_positive("server.port");
                is_positive("messaging.message.body.size");
                has_text("maskline.candidate.id");
                has_text("maskline.job.id");
                if span.kind == SpanKind::Producer {
                    has(
                        "messaging.destination.name",
                        format!("maskline:{key}").into(),
                    );
                    message = span.get("messaging.message.id").clone();
                    assert!(message.is_string(), "{title}");
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
                is_positive("server.port");
                is_positive("http.response.status_code");
                has_text("url.full");
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
                    has_text(name);
                }
                is_positive("server.port");
            }
            _ => {
                let named = format!(
                    "{} {}",
                    span.get("db.operation.name").as_str().unwrap_or_default(),
                    span.get("db.collection.name").as_str().unwrap_or_default()
                );
                assert_eq!(span.name, named);
                has("db.system.name", "mongodb".into());
                has_text("db.namespace");
                has_text("server.address");
                is_positive("server.port");
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

/// The span of the rejecting stage and the last hop must have the reason.
fn assert_ends_with_the_reason(trace: &[Span], stage: &str, reason: &str) {
    let service = format!("maskline-{stage}");
    let by_stage = trace
        .iter()
        .find(|span| span.service == service && span.kind == SpanKind::Consumer);
    let hops = trace.iter().filter(|span| span.is_hop());
    let last = hops.max_by_key(|span| span.start);
    for span in [by_stage, last] {
        let span = span.unwrap_or_else(|| panic!("{stage} is not in {trace:#?}"));
        assert_eq!(span.get("maskline.rejection.reason"), reason);
        let event = span.event("rejected").expect("the span has the event");
        let detail = event.attributes.get("maskline.rejection.detail");
        assert!(detail.is_some_and(Value::is_string), "{event:?}");
        assert_eq!(span.error, None, "a rejection is not an error");
    }
    assert_eq!(last.map(|span| &*span.name), Some("process storer.images"));
}

fn assert_shows_each_attempt(trace: &[Span], attempts: usize) {
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
        let exception = failed.event("exception").expect("it has the error");
        let message = exception.attributes["exception.message"]
            .as_str()
            .expect("text");
        assert!(message.contains("503"), "{message}");
        assert!(failed.event("retry").is_some());
    }
}

fn assert_shows_the_error(trace: &[Span], kind: &str, error: &str) {
    let dead = trace.iter().filter(|span| span.get("error.type") == kind);
    let dead: Vec<_> = dead.collect();
    let [dead] = &dead[..] else {
        panic!("there must be one: {trace:#?}");
    };
    assert!(dead.error.is_some(), "{dead:#?}");
    let exception = dead.event("exception").expect("it has the error");
    assert_eq!(exception.attributes["exception.type"], kind);
    let message = exception.attributes["exception.message"]
        .as_str()
        .expect("text");
    assert!(message.contains(error), "{message}");
}

fn assert_shows_every_step(trace: &[Span]) {
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
            assert!(is_below, "{} is not below {earlier}", span.title());
        }
    };
    assert_eq!(roots[0].title(), "maskline: enqueue");
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
