//! How the runner settles messages: acknowledged, retried, dead-lettered or given back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use maskline_messages::{CandidateFound, ImageFailed, JobId, Message, Queue, StorerImages};
use maskline_runtime::{
    BrokerAdmin, BrokerError, Consume, Envelope, Failure, Outcome, Publish,
    broker::{DeadLetterKind, Headers},
};
use tokio::sync::mpsc::unbounded_channel;

use crate::{
    harness::{Harness, candidate, expanded, published, rejection, stub, within},
    watched::Event,
};

const CANDIDATES: Queue = Queue::ScraperCandidates;

#[tokio::test]
async fn a_message_is_acknowledged_after_all_that_follows_from_it_is_durable() {
    let mut harness = Harness::new().await;
    let job = JobId::draw();
    let stage = stub("causing", move |message: CandidateFound, _| async move {
        let rejected: Message = rejection(&message).into();
        Ok(Outcome::send_all(vec![rejected.clone(), rejected]).then(expanded(job)))
    });
    let running = harness.start(vec![stage]).await;

    harness.send(candidate(job, 1)).await;

    assert_eq!(harness.next().await, published("image.rejected"));
    assert_eq!(harness.next().await, published("image.rejected"));
    assert_eq!(harness.next().await, published("source.expanded"));
    assert_eq!(harness.next().await, Event::Acked);
    running.stop().await;
    assert!(harness.is_quiet());
}

#[tokio::test]
async fn a_panic_is_reported_and_dead_lettered_and_the_next_message_is_handled() {
    let mut harness = Harness::new().await;
    let job = JobId::draw();
    let (bad, good) = (candidate(job, 1), candidate(job, 2));
    let panics_at = bad.candidate;
    let stage = stub("panicking", move |message: CandidateFound, _| async move {
        assert!(message.candidate != panics_at, "boom");
        Ok(Outcome::done())
    });
    let running = harness.start(vec![stage]).await;

    harness.send(bad.clone()).await;

    assert_eq!(harness.next().await, published("image.failed"));
    let why = harness.dead_lettered().await;
    assert_eq!(
        (why.kind, why.stage.as_str()),
        (DeadLetterKind::Poison, "panicking")
    );
    assert!(why.error.contains("panicked: boom"), "{}", why.error);
    let failed = ImageFailed {
        job,
        candidate: bad.candidate,
        stage: "panicking".to_owned(),
        error: why.error,
        attempts: 1,
    };
    assert_eq!(harness.take(Queue::StorerImages).await, failed.into());
    let dead_letters = harness
        .broker
        .dead_letters(10)
        .await
        .expect("the broker answers");
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].queue, CANDIDATES.name());
    assert_eq!(dead_letters[0].envelope.body, Message::from(bad).to_json());

    harness.send(good).await;
    assert_eq!(harness.next().await, Event::Acked);
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_and_costs_no_attempt() {
    let mut harness = Harness::new().await;
    let (seen, mut attempts) = unbounded_channel();
    let calls = Arc::new(AtomicU32::new(0));
    let stage = stub("waiting", move |_: CandidateFound, context| {
        let _ = seen.send(context.attempts);
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            match call {
                // More often than a message may be retried.
                0..4 => Err(Failure::outage(anyhow::anyhow!("no route to the store"))),
                _ => Ok(Outcome::done()),
            }
        }
    });
    let running = harness.start(vec![stage]).await;

    harness.send(candidate(JobId::draw(), 1)).await;

    assert_eq!(harness.next().await, Event::Acked);
    running.stop().await;
    assert!(harness.is_quiet());
    let mut seen = Vec::new();
    while let Some(attempt) = attempts.recv().await {
        seen.push(attempt);
    }
    assert_eq!(seen, [0; 5]);
}

#[tokio::test]
async fn a_message_that_was_redelivered_too_often_is_reported_and_dead_lettered_unhandled() {
    let mut harness = Harness::new().await;
    harness.send(candidate(JobId::draw(), 1)).await;
    let mut dying = harness.broker.consume(CANDIDATES, 1).await.expect("open");
    for _ in 0..50 {
        drop(within(dying.next()).await.expect("it comes again"));
    }
    dying.close().await;
    let stage = stub("surviving", |_: CandidateFound, _| async {
        unreachable!("it would kill this process, too")
    });
    let running = harness.start(vec![stage]).await;

    assert_eq!(harness.next().await, published("image.failed"));
    let why = harness.dead_lettered().await;
    assert_eq!(why.kind, DeadLetterKind::Poison);
    assert!(why.error.contains("50 times"), "{}", why.error);
    running.stop().await;
}

#[tokio::test]
async fn retries_are_counted_for_the_handler_and_bounded() {
    let mut harness = Harness::new().await;
    let (seen, mut attempts) = unbounded_channel();
    let stage = stub("retrying", move |_: CandidateFound, context| {
        let _ = seen.send((context.attempts, context.last_attempt));
        async {
            Err(Failure::retry(
                anyhow::anyhow!("timed out").context("the server"),
            ))
        }
    });
    let running = harness.start(vec![stage]).await;

    harness.send(candidate(JobId::draw(), 1)).await;

    assert!(matches!(harness.next().await, Event::Retried(_)));
    assert!(matches!(harness.next().await, Event::Retried(_)));
    assert_eq!(harness.next().await, published("image.failed"));
    let why = harness.dead_lettered().await;
    assert_eq!(why.kind, DeadLetterKind::RetriesExhausted);
    assert_eq!(why.error, "the server: timed out");
    let Message::ImageFailed(failed) = harness.take(Queue::StorerImages).await else {
        panic!("the storer gets a report of the failure")
    };
    assert_eq!(failed.attempts, 3);
    running.stop().await;
    attempts.close();
    let mut seen = Vec::new();
    while let Some(attempt) = attempts.recv().await {
        seen.push(attempt);
    }
    assert_eq!(seen, [(0, false), (1, false), (2, true)]);
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_server_asked() {
    let mut harness = Harness::new().await;
    let asked = Duration::from_secs(90);
    let stage = stub("asked", move |_: CandidateFound, _| async move {
        Err(Failure::Retry {
            error: anyhow::anyhow!("429"),
            after: Some(asked),
        })
    });
    let running = harness.start(vec![stage]).await;

    harness.send(candidate(JobId::draw(), 1)).await;

    assert_eq!(harness.next().await, Event::Retried(asked));
    running.stop().await;
}

#[tokio::test]
async fn a_message_whose_turn_has_not_come_waits_and_costs_no_attempt() {
    let mut harness = Harness::new().await;
    let (seen, mut attempts) = unbounded_channel();
    let calls = Arc::new(AtomicU32::new(0));
    let wait = Duration::from_millis(60);
    let stage = stub("queuing", move |_: CandidateFound, context| {
        let _ = seen.send((context.attempts, context.last_attempt));
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            match call {
                0 => Err(Failure::retry(anyhow::anyhow!("busy"))),
                // More often than a message may be retried.
                1..5 => Err(Failure::Postponed {
                    error: anyhow::anyhow!("the quota is used up"),
                    after: wait,
                }),
                _ => Ok(Outcome::done()),
            }
        }
    });
    let running = harness.start(vec![stage]).await;

    harness.send(candidate(JobId::draw(), 1)).await;

    assert!(matches!(harness.next().await, Event::Retried(_)));
    for _ in 1..5 {
        assert_eq!(harness.next().await, Event::Postponed(wait));
    }
    assert_eq!(harness.next().await, Event::Acked);
    running.stop().await;
    assert!(harness.is_quiet());
    let mut seen = Vec::new();
    while let Some(attempt) = attempts.recv().await {
        seen.push(attempt);
    }
    let later = [(1, false); 5];
    assert_eq!(seen, [&[(0, false)], &later[..]].concat());
}

#[tokio::test]
async fn a_body_that_is_no_message_is_poison_and_no_handler_sees_it() {
    let mut harness = Harness::new().await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let stage = stub("reading", move |_: CandidateFound, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(Outcome::done()) }
    });
    let running = harness.start(vec![stage]).await;
    let bodies = [
        ("{", "can't be read"),
        (r#"{"schema":99,"type":"x"}"#, "schema 99"),
        (r#"{"schema":3,"type":"from_elsewhere"}"#, "from_elsewhere"),
    ];

    for (body, says) in bodies {
        let key = "candidate.found".to_owned();
        let envelope = Envelope {
            key: key.clone(),
            headers: Headers::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        harness
            .broker
            .publish(envelope)
            .await
            .expect("the broker takes it");
        assert_eq!(harness.next().await, published(&key));
        let why = harness.dead_lettered().await;
        assert_eq!(why.kind, DeadLetterKind::Poison);
        assert!(why.error.contains(says), "{}", why.error);
    }
    running.stop().await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_message_that_the_queue_does_not_carry_is_poison_and_no_handler_sees_it() {
    let mut harness = Harness::new().await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let stage = stub("refusing", move |_: CandidateFound, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(Outcome::done()) }
    });
    let running = harness.start(vec![stage]).await;
    let job = JobId::draw();
    let about_an_image = candidate(job, 1);
    // A rejection ends a candidate, so that the storer must know that it is lost.
    let cases = [
        (Message::from(rejection(&about_an_image)), true),
        (Message::from(expanded(job)), false),
    ];

    for (message, is_reported) in cases {
        let envelope = Envelope {
            key: CandidateFound::KEY.to_owned(),
            headers: Headers::new(),
            body: Bytes::from(message.to_json()),
        };
        let sent = harness.broker.publish(envelope).await;
        sent.expect("the broker takes it");
        assert_eq!(harness.next().await, published(CandidateFound::KEY));
        if is_reported {
            assert_eq!(harness.next().await, published(ImageFailed::KEY));
        }
        let why = harness.dead_lettered().await;
        assert_eq!(
            (why.kind, why.stage.as_str()),
            (DeadLetterKind::Poison, "refusing")
        );
        for named in [CANDIDATES.name(), message.key()] {
            assert!(why.error.contains(named), "{}", why.error);
        }
    }
    running.stop().await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_message_whose_outcome_cannot_be_sent_now_is_given_back_uncounted() {
    let mut harness = Harness::new().await;
    let (seen, mut attempts) = unbounded_channel();
    let stage = stub("unsent", move |message: CandidateFound, context| {
        let _ = seen.send(context.attempts);
        async move { Ok(Outcome::send(rejection(&message))) }
    });
    harness.send(candidate(JobId::draw(), 1)).await;
    let gone = || BrokerError::unavailable("gone");
    harness
        .broker
        .fail_publishing([gone(), gone(), gone(), gone()]);
    let running = harness.start(vec![stage]).await;

    for _ in 0..4 {
        assert_eq!(harness.next().await, Event::Released);
    }
    assert_eq!(harness.next().await, published("image.rejected"));
    assert_eq!(harness.next().await, Event::Acked);
    running.stop().await;
    // More often than the retry policy's bound, and no attempt counted.
    for _ in 0..5 {
        assert_eq!(within(attempts.recv()).await, Some(0));
    }
}

#[tokio::test]
async fn a_full_queue_ahead_is_waited_for_without_handling_again() {
    let mut harness = Harness::new().await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let stage = stub("pressed", move |message: CandidateFound, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok(Outcome::send(rejection(&message))) }
    });
    harness.send(candidate(JobId::draw(), 1)).await;
    let full = || BrokerError::Full("storer.images".to_owned());
    harness.broker.fail_publishing([full(), full()]);
    let running = harness.start(vec![stage]).await;

    assert_eq!(harness.next().await, published("image.rejected"));
    assert_eq!(harness.next().await, Event::Acked);
    running.stop().await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_message_whose_outcome_no_queue_takes_is_poison() {
    let mut harness = Harness::new().await;
    let stage = stub("unroutable", |message: CandidateFound, _| async move {
        Ok(Outcome::send(rejection(&message)))
    });
    harness.send(candidate(JobId::draw(), 1)).await;
    harness
        .broker
        .fail_publishing([BrokerError::Unroutable("image.rejected".to_owned())]);
    let running = harness.start(vec![stage]).await;

    assert_eq!(harness.next().await, published("image.failed"));
    assert_eq!(harness.dead_lettered().await.kind, DeadLetterKind::Poison);
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_dead_lettered_before_its_failure_is_reported() {
    let mut harness = Harness::new().await;
    let stage = stub("unreported", |_: CandidateFound, _| async {
        Err(Failure::poison(anyhow::anyhow!("bug")))
    });
    harness.send(candidate(JobId::draw(), 1)).await;
    harness
        .broker
        .fail_publishing([BrokerError::unavailable("gone")]);
    let running = harness.start(vec![stage]).await;

    assert_eq!(harness.next().await, Event::Released);
    assert_eq!(harness.next().await, published("image.failed"));
    assert_eq!(harness.dead_lettered().await.error, "bug");
    running.stop().await;
}

#[tokio::test]
async fn several_stages_share_one_process() {
    let mut harness = Harness::new().await;
    let job = JobId::draw();
    let first = stub("first", |message: CandidateFound, _| async move {
        Ok(Outcome::send(rejection(&message)))
    });
    let second = stub("second", move |_: StorerImages, _| async move {
        Ok(Outcome::send(expanded(job)))
    });
    let running = harness.start(vec![first, second]).await;

    harness.send(candidate(job, 1)).await;

    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(harness.next().await);
    }
    assert_eq!(events[0], published("image.rejected"));
    assert!(events.contains(&published("source.expanded")), "{events:?}");
    let acked = events
        .iter()
        .filter(|event| **event == Event::Acked)
        .count();
    assert_eq!(acked, 2, "{events:?}");
    running.stop().await;
}
