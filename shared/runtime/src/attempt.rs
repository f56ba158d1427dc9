//! One attempt at one message: decode, handle, send what follows, settle.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration, time::Instant};

use anyhow::anyhow;
use futures::FutureExt;
use maskline_messages::{Message, Queue};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, warn};

use crate::{
    broker::{BrokerError, Delivery, Settle, Why, WhyKind},
    context::Context,
    counters::QueueMetrics,
    retry::RetryPolicy,
    sender::Sender,
    stage::{Failure, Outcome, Stage},
    telemetry::Processing,
};

/// How long a full queue ahead is waited for before the message goes back.
const FULL_LIMIT: Duration = Duration::from_secs(120);

/// The waits between looks whether the queue ahead has room again.
const FULL_WAIT: RetryPolicy = RetryPolicy {
    base: 0.1,
    factor: 2.0,
    cap: 5.0,
    attempts: u32::MAX,
};

/// What all attempts at one queue's messages share.
#[derive(Clone)]
pub struct Handling {
    pub stage: Arc<dyn Stage>,
    pub queue: Queue,
    pub system: &'static str,
    pub sender: Sender,
    pub retry: RetryPolicy,
    pub metrics: QueueMetrics,
    pub stopping: CancellationToken,
}

/// How an attempt ended, still to be settled.
enum End {
    /// Everything it caused is confirmed.
    Done,
    Retry {
        error: String,
        after: Duration,
    },
    GivenUp {
        kind: WhyKind,
        error: String,
    },
    /// What it caused could not be sent, through no fault of the message.
    Released {
        error: String,
    },
}

impl Handling {
    /// Sees one delivery to its end. Dropped before that, the broker delivers it again.
    pub async fn attempt(self, delivery: Delivery) {
        let processing = Processing::start(self.system, self.stage.name(), &delivery);
        let span = processing.span();
        self.process(delivery, &processing).instrument(span).await;
    }

    async fn process(&self, delivery: Delivery, processing: &Processing) {
        let _in_flight = InFlight::enter(&self.metrics);
        let start = Instant::now();
        let attempts = delivery.attempts;
        let decoded = Message::from_json(&delivery.envelope.body);
        let end = match &decoded {
            Ok(message) => {
                processing.decoded(message);
                self.handle(message.clone(), attempts, processing).await
            }
            Err(malformed) => End::GivenUp {
                kind: WhyKind::Poison,
                error: format!("{:#}", anyhow!("{malformed}")),
            },
        };
        let end = self
            .tell_the_books(decoded.ok().as_ref(), attempts, end)
            .await;
        self.metrics.seconds.record(start.elapsed().as_secs_f64());
        self.settle(delivery.settle, attempts, end, processing)
            .await;
    }

    async fn handle(&self, message: Message, attempts: u32, processing: &Processing) -> End {
        let context = Context {
            attempts,
            last_attempt: self.retry.is_last(attempts),
            trace_id: processing.trace_id(),
        };
        let handled = AssertUnwindSafe(self.stage.handle(message, &context))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(Failure::Poison(panicked(&*panic))));
        match handled {
            Ok(outcome) => self.send(outcome, attempts, processing).await,
            Err(failure) => self.failed(failure, attempts),
        }
    }

    fn failed(&self, failure: Failure, attempts: u32) -> End {
        let error = failure.to_string();
        match failure {
            Failure::Poison(_) => End::GivenUp {
                kind: WhyKind::Poison,
                error,
            },
            Failure::Retry { .. } if self.retry.is_last(attempts) => End::GivenUp {
                kind: WhyKind::RetriesExhausted,
                error,
            },
            Failure::Retry { after, .. } => End::Retry {
                error,
                after: self.retry.delay(attempts, after),
            },
        }
    }

    async fn send(&self, outcome: Outcome, attempts: u32, processing: &Processing) -> End {
        let Outcome { messages, last } = outcome;
        for messages in [messages.as_slice(), last.as_slice()] {
            if let Err(error) = self.send_when_there_is_room(messages).await {
                return self.not_sent(error, attempts);
            }
        }
        let sent = || messages.iter().chain(&last);
        processing.rejected(sent());
        self.metrics.rejected(sent());
        End::Done
    }

    fn not_sent(&self, error: BrokerError, attempts: u32) -> End {
        let text = format!("what follows from it can't be sent: {error}");
        match error {
            BrokerError::Unavailable(_) | BrokerError::Full(_) | BrokerError::Stale => {
                End::Released { error: text }
            }
            // A message that no queue takes or that is too large is this program's fault.
            BrokerError::Unroutable(_) | BrokerError::TooLarge { .. } => {
                self.failed(Failure::Poison(anyhow!(text)), attempts)
            }
            BrokerError::Misconfigured(_) => self.failed(Failure::retry(anyhow!(text)), attempts),
        }
    }

    /// Holds the delivery while the queue ahead is full: so pressure goes back
    /// to the source, and nothing is downloaded or decoded twice for it.
    async fn send_when_there_is_room(&self, messages: &[Message]) -> Result<(), BrokerError> {
        let start = Instant::now();
        for waits in 0.. {
            match self.sender.send_all(messages).await {
                Err(BrokerError::Full(queue))
                    if start.elapsed() < FULL_LIMIT && !self.stopping.is_cancelled() =>
                {
                    debug!(%queue, "full: waiting for room");
                    tokio::select! {
                        () = self.stopping.cancelled() => {}
                        () = tokio::time::sleep(FULL_WAIT.delay(waits, None)) => {}
                    }
                }
                sent => return sent,
            }
        }
        unreachable!("the limit on waiting comes before four billion waits")
    }

    /// A candidate or job whose message is given up ends as failed, and the
    /// books hear it before the message is buried: else nobody would ever know
    /// that the job owes nothing more.
    async fn tell_the_books(&self, message: Option<&Message>, attempts: u32, end: End) -> End {
        let End::GivenUp { error, .. } = &end else {
            return end;
        };
        let stage = self.stage.name();
        let failure = message.and_then(|m| m.failure(stage, error, attempts.saturating_add(1)));
        let Some(failure) = failure else { return end };
        match self.send_when_there_is_room(&[failure]).await {
            Ok(()) => end,
            Err(unsent) => End::Released {
                error: format!("given up ({error}), but the books can't be told: {unsent}"),
            },
        }
    }

    async fn settle(
        &self,
        settle: Box<dyn Settle>,
        attempts: u32,
        end: End,
        processing: &Processing,
    ) {
        let queue = self.queue.name();
        let settled = match end {
            End::Done => settle.ack().await.inspect(|()| {
                self.metrics.handled.increment(1);
                debug!(queue, "handled");
            }),
            End::Retry { error, after } => {
                info!(
                    queue,
                    attempt = attempts + 1,
                    ?after,
                    error,
                    "to be tried again"
                );
                processing.retried(&error, after);
                self.metrics.retried.increment(1);
                settle.retry(after, &error).await
            }
            End::GivenUp { kind, error } => {
                error!(
                    queue,
                    attempt = attempts + 1,
                    ?kind,
                    error,
                    "to the dead letters"
                );
                processing.dead_lettered(kind, &error);
                self.metrics.dead(kind).increment(1);
                let stage = self.stage.name().to_owned();
                settle.dead_letter(&Why { kind, stage, error }).await
            }
            End::Released { error } => {
                warn!(queue, error, "goes back to its queue");
                processing.released(&error);
                self.metrics.released.increment(1);
                settle.release().await
            }
        };
        match settled {
            Ok(()) => {}
            Err(BrokerError::Stale) => debug!(queue, "taken back meanwhile: it will come again"),
            Err(error) => warn!(queue, %error, "could not be settled: it will come again"),
        }
    }
}

/// Counts a message as in flight for as long as it lives, so that an attempt
/// that is cut off is not counted for ever.
struct InFlight(metrics::Gauge);

impl InFlight {
    fn enter(metrics: &QueueMetrics) -> Self {
        metrics.in_flight.increment(1);
        Self(metrics.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// What a caught panic said.
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    anyhow!("panicked: {}", said.unwrap_or("(no message)"))
}
