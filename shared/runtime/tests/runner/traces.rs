//! Promise 6: every hop is a `send` and a `process` span, an image has one trace.

use maskline_messages::{CandidateFound, JobId, Message, StorerImages, StorerJobs};
use maskline_runtime::{Failure, Outcome, Service, telemetry};
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use tracing::Instrument;

use crate::{
    environment::{Environment, candidate, expanded, rejection, stub},
    spans::{self, attribute},
    watched::Event,
};

/// Sends one candidate in a job's span through `stage` and a sink; the job's
/// trace id, and the spans about the candidate.
async fn trace(stage: Service, sent: &CandidateFound, events: usize) -> (String, Vec<SpanData>) {
    let mut environment = Environment::new().await;
    let sink = stub("sink", |_: StorerImages, _| async { Ok(Outcome::done()) });
    let running = environment.start(vec![stage, sink]).await;
    let span = telemetry::span_from(None, "enqueue");
    let job_trace = async {
        environment.send(sent.clone()).await;
        telemetry::current_trace_id().expect("the span has a trace")
    };
    let job_trace = job_trace.instrument(span).await;
    for _ in 0..events {
        environment.next().await;
    }
    running.stop().await;
    (job_trace, spans::of(sent.candidate))
}

fn names(spans: &[SpanData]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_ref()).collect()
}

fn events(span: &SpanData) -> Vec<&str> {
    span.events
        .iter()
        .map(|event| event.name.as_ref())
        .collect()
}

#[tokio::test]
async fn an_image_is_one_trace_of_its_own_linked_to_its_jobs() {
    let stage = stub("tracing", |message: CandidateFound, _| async move {
        Ok(Outcome::send(rejection(&message)))
    });
    let sent = candidate(JobId::draw(), 1);

    let (job_trace, spans) = trace(stage, &sent, 3).await;

    let hops = [
        "send scraper.candidates",
        "process scraper.candidates",
        "send storer.images",
        "process storer.images",
    ];
    assert_eq!(names(&spans), hops);
    assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
    assert_eq!(spans[0].links.len(), 1);
    let link = spans[0].links[0].span_context.trace_id().to_string();
    assert_eq!(link, job_trace);
    for pair in spans.windows(2) {
        let (earlier, later) = (&pair[0], &pair[1]);
        assert_eq!(
            later.span_context.trace_id(),
            earlier.span_context.trace_id()
        );
        assert_eq!(later.parent_span_id, earlier.span_context.span_id());
    }
    assert_ne!(spans[0].span_context.trace_id().to_string(), job_trace);
    assert_eq!(spans[0].span_kind, SpanKind::Producer);
    assert_eq!(spans[1].span_kind, SpanKind::Consumer);
    assert!(spans[1].parent_span_is_remote);
}

#[tokio::test]
async fn both_sides_of_a_hop_follow_the_messaging_conventions() {
    let stage = stub("describing", |_: CandidateFound, _| async {
        Ok(Outcome::done())
    });
    let sent = candidate(JobId::draw(), 1);

    let (_, spans) = trace(stage, &sent, 1).await;

    let bytes = i64::try_from(Message::from(sent.clone()).to_json().len()).expect("small");
    for (span, operation) in spans.iter().zip(["send", "process"]) {
        for (name, value) in [
            ("messaging.system", "sqlite".into()),
            ("messaging.operation.name", operation.into()),
            ("messaging.operation.type", operation.into()),
            ("messaging.destination.name", "scraper.candidates".into()),
            (
                "messaging.rabbitmq.destination.routing_key",
                "candidate.found".into(),
            ),
            ("messaging.message.body.size", bytes.into()),
            ("maskline.job.id", sent.job.to_string().into()),
        ] {
            assert_eq!(attribute(span, name), Some(value), "{name} of {operation}");
        }
    }
    let id = |span| attribute(span, "messaging.message.id");
    assert!(id(&spans[0]).is_some());
    assert_eq!(id(&spans[0]), id(&spans[1]));
    assert_eq!(
        attribute(&spans[1], "maskline.stage"),
        Some("describing".into())
    );
    assert_eq!(attribute(&spans[1], "maskline.attempt"), Some(1.into()));
}

#[tokio::test]
async fn a_rejected_image_ends_in_the_span_that_says_why_and_that_is_no_error() {
    let stage = stub("rejecting", |message: CandidateFound, _| async move {
        Ok(Outcome::send(rejection(&message)))
    });

    let (_, spans) = trace(stage, &candidate(JobId::draw(), 1), 3).await;

    let process = &spans[1];
    assert_eq!(
        attribute(process, "maskline.rejection.reason"),
        Some("empty".into())
    );
    assert_eq!(events(process), ["rejected"]);
    assert_eq!(process.status, Status::Unset);
    // Whoever looks at the trace's end sees it as well.
    for span in &spans[2..] {
        let reason = attribute(span, "maskline.rejection.reason");
        assert_eq!(reason, Some("empty".into()), "{}", span.name);
    }
}

#[tokio::test]
async fn a_line_that_is_rejected_at_once_has_a_trace_of_its_own_too() {
    let job = JobId::draw();
    let lines = [candidate(job, 1), candidate(job, 2)];
    let rejections: Vec<Message> = lines.iter().map(|line| rejection(line).into()).collect();
    let expanding = stub("expanding", move |_: StorerJobs, _| {
        let rejections = rejections.clone();
        async { Ok(Outcome::send_all(rejections)) }
    });
    let sink = stub("sink", |_: StorerImages, _| async { Ok(Outcome::done()) });
    let mut environment = Environment::new().await;
    let running = environment.start(vec![expanding, sink]).await;
    environment.send(expanded(job)).await;
    for _ in 0..5 {
        environment.next().await;
    }
    running.stop().await;

    let mut traces = vec![];
    for line in lines {
        let spans = spans::of(line.candidate);
        assert_eq!(
            names(&spans),
            ["send storer.images", "process storer.images"]
        );
        assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
        traces.push(spans[0].span_context.trace_id());
        let [link] = &spans[0].links[..] else {
            panic!("one link: {:?}", spans[0].links);
        };
        let cause = spans::named(
            &link.span_context.trace_id().to_string(),
            "process storer.jobs",
        );
        assert_eq!(cause.len(), 1);
        assert!(events(&cause[0]).is_empty(), "the job is not rejected");
        assert_eq!(events(&spans[1]), ["rejected"]);
    }
    assert_ne!(traces[0], traces[1]);
}

#[tokio::test]
async fn each_attempt_is_a_span_of_the_same_send_and_giving_up_is_an_error() {
    let stage = stub("failing", |_: CandidateFound, _| async {
        Err(Failure::retry(anyhow::anyhow!("not yet")))
    });

    let (_, spans) = trace(stage, &candidate(JobId::draw(), 1), 5).await;

    let attempts: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "process scraper.candidates")
        .collect();
    assert_eq!(attempts.len(), 3);
    for (n, span) in (1..).zip(&attempts) {
        assert_eq!(
            attribute(span, "maskline.attempt"),
            Some(i64::from(n).into())
        );
        assert_eq!(span.parent_span_id, spans[0].span_context.span_id());
        assert_eq!(events(span)[0], "exception");
    }
    assert_eq!(attribute(attempts[0], "error.type"), Some("retry".into()));
    assert_eq!(attempts[0].status, Status::Unset);
    assert_eq!(
        attribute(attempts[2], "error.type"),
        Some("retries_exhausted".into())
    );
    assert_eq!(attempts[2].status, Status::error("not yet"));
}

#[tokio::test]
async fn a_handler_knows_its_messages_trace() {
    let mut environment = Environment::new().await;
    let (seen, mut traces) = tokio::sync::mpsc::unbounded_channel();
    let stage = stub("knowing", move |_: CandidateFound, context| {
        let _ = seen.send((context.trace_id, telemetry::current_trace_id()));
        async { Ok(Outcome::done()) }
    });
    let running = environment.start(vec![stage]).await;
    let sent = candidate(JobId::draw(), 1);

    environment.send(sent.clone()).await;
    assert_eq!(environment.next().await, Event::Acked);
    running.stop().await;

    let (context, current) = traces.recv().await.expect("it was handled");
    let trace = spans::of(sent.candidate)[0]
        .span_context
        .trace_id()
        .to_string();
    assert_eq!(context.as_deref(), Some(trace.as_str()));
    assert_eq!(current, context);
}

/// A job's own span, its trace's id and the `traceparent` to store.
fn enqueued() -> (tracing::Span, String, String) {
    let span = telemetry::span_from(None, "enqueue job");
    let (trace, stored) = span.in_scope(|| {
        let trace = telemetry::current_trace_id();
        (trace, telemetry::current_traceparent())
    });
    let (trace, stored) = trace.zip(stored).expect("a span has both");
    (span, trace, stored)
}

#[tokio::test]
async fn work_goes_on_in_the_trace_that_was_stored_for_it() {
    spans::record();
    let (enqueue, trace, stored) = enqueued();

    drop(telemetry::span_from(Some(&stored), "train"));
    drop(enqueue);

    let train = &spans::named(&trace, "train")[0];
    let enqueue = &spans::named(&trace, "enqueue job")[0];
    assert_eq!(train.parent_span_id, enqueue.span_context.span_id());
}

#[tokio::test]
async fn work_that_fails_and_work_that_is_given_up_are_errors_that_say_why() {
    spans::record();
    let (_job, trace, stored) = enqueued();
    let failing = async { anyhow::Result::<()>::Err(anyhow::anyhow!("no room")) };
    let failed = telemetry::in_span_from(Some(&stored), "fails", [], failing).await;
    failed.expect_err("it is passed on");
    let giving_up = async {
        telemetry::given_up("no hope");
        Ok(())
    };
    let given_up = telemetry::in_span_from(Some(&stored), "gives up", [], giving_up).await;
    given_up.expect("giving up is no error to whoever does it");

    for (name, kind, why) in [
        ("fails", "work_failed", "no room"),
        ("gives up", "given_up", "no hope"),
    ] {
        let span = &spans::named(&trace, name)[0];
        assert_eq!(attribute(span, "error.type"), Some(kind.into()));
        assert_eq!(span.status, Status::error(why));
        assert_eq!(events(span), ["exception"]);
    }
}

#[tokio::test]
async fn a_stored_traceparent_that_is_none_begins_a_new_trace() {
    spans::record();
    for stored in [None, Some(""), Some("00-nonsense-01")] {
        let trace = telemetry::span_from(stored, "freeze").in_scope(telemetry::current_trace_id);
        assert_eq!(trace.map(|id| id.len()), Some(32), "{stored:?}");
    }
}
