//! One attempt at one message: decode, handle, send what follows, settle.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration, time::Instant};

use anyhow::anyhow;
use futures::FutureExt;
use maskline_foundation::RetryPolicy;
use maskline_messages::{Message, Queue};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, warn};

use crate::{
    broker::{BrokerError, DeadLetterKind, DeadLetterReason, Delivery, Publish, Settle},
    context::Context,
    metrics::QueueMetrics,
    sender::{Sender, age},
    stage::{Failure, Outcome, Stage},
    telemetry::Processing,
};

/// How long a delivery is held while what follows from it finds no room, or a
/// store is away: less than the half hour after which RabbitMQ takes it back.
const HOLD_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The waits between looks whether it is better.
const HOLD_WAIT: RetryPolicy = RetryPolicy {
    base: 0.1,
    factor: 2.0,
    cap: 5.0,
    attempts: u32::MAX,
};

/// What was delivered so often without coming to an end is not handled once more:
/// it may be what kills the processes that take it. Fewer than RabbitMQ's own
/// limit, past which nobody would tell the books.
const MOST_REDELIVERIES: u32 = 50;

/// Messages that are sent at a time.
const BATCH: usize = 64;

/// What all attempts at one queue's messages share.
#[derive(Clone)]
pub struct Handling {
    pub stage: Arc<dyn Stage>,
    pub queue: Queue,
    pub broker: Arc<dyn Publish>,
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
        kind: DeadLetterKind,
        error: String,
    },
    /// A store or the way out was away for too long, through no fault of the message.
    Released {
        error: String,
    },
}

impl Handling {
    /// Sees one delivery to its end. Dropped before that, the broker delivers it again.
    pub async fn attempt(self, delivery: Delivery) {
        let processing = Processing::start(&*self.broker, self.stage.name(), &delivery);
        let span = processing.span();
        self.process(delivery, &processing).instrument(span).await;
    }

    async fn process(mut self, delivery: Delivery, processing: &Processing) {
        let _in_flight = InFlight::enter(&self.metrics);
        if delivery.attempts == 0 && delivery.redelivered == 0 {
            let waited = age(&delivery.envelope.headers);
            waited.inspect(|waited| self.metrics.waited.record(waited.as_secs_f64()));
        }
        let start = Instant::now();
        let attempts = delivery.attempts;
        let decoded = Message::from_json(&delivery.envelope.body);
        let end = match &decoded {
            Ok(_) if delivery.redelivered >= MOST_REDELIVERIES => End::GivenUp {
                kind: DeadLetterKind::Poison,
                error: format!(
                    "delivered {} times and never settled: it may end the processes that take it",
                    delivery.redelivered
                ),
            },
            Ok(message) => {
                processing.decoded(message);
                self.sender = self.sender.following(message);
                self.handle(message.clone(), attempts, processing).await
            }
            Err(malformed) => End::GivenUp {
                kind: DeadLetterKind::Poison,
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
        match self.handle_through_outages(&message, &context).await {
            Ok(outcome) => self.send(&message, outcome, attempts, processing).await,
            Err(failure) => self.failed(failure, attempts),
        }
    }

    /// Holds the delivery while a store is away. All places are soon taken by such
    /// deliveries, so that nothing more is taken until it is back.
    async fn handle_through_outages(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let hold = Hold::begin(&self.stopping);
        for waits in 0.. {
            let handled = AssertUnwindSafe(self.stage.handle(message.clone(), context))
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| Err(Failure::Poison(panicked(&*panic))));
            match handled {
                Err(Failure::Outage(error)) if hold.may_go_on() => {
                    let (queue, error) = (self.queue, format!("{error:#}"));
                    warn!(%queue, error, "waiting for it");
                    hold.wait(waits).await;
                }
                handled => return handled,
            }
        }
        unreachable!("the limit on waiting comes before four billion waits")
    }

    fn failed(&self, failure: Failure, attempts: u32) -> End {
        let error = failure.to_string();
        match failure {
            Failure::Poison(_) => End::GivenUp {
                kind: DeadLetterKind::Poison,
                error,
            },
            Failure::Outage(_) => End::Released { error },
            Failure::Retry { .. } if self.retry.is_last(attempts) => End::GivenUp {
                kind: DeadLetterKind::RetriesExhausted,
                error,
            },
            Failure::Retry { after, .. } => End::Retry {
                error,
                after: self.retry.delay(attempts, after),
            },
        }
    }

    async fn send(
        &self,
        about: &Message,
        outcome: Outcome,
        attempts: u32,
        processing: &Processing,
    ) -> End {
        let Outcome { messages, last } = outcome;
        for messages in [messages.as_slice(), last.as_slice()] {
            if let Err(error) = self.send_when_there_is_room(messages).await {
                return self.not_sent(error, attempts);
            }
        }
        let sent = || messages.iter().chain(&last);
        processing.sent(about, sent());
        self.metrics.rejected(sent());
        End::Done
    }

    fn not_sent(&self, error: BrokerError, attempts: u32) -> End {
        let text = format!("what follows from it can't be sent: {error:#}");
        match error {
            BrokerError::Unavailable { .. } | BrokerError::Full(_) | BrokerError::Stale => {
                End::Released { error: text }
            }
            // A message that no queue takes or that is too large is this program's fault.
            BrokerError::Unroutable(_) | BrokerError::TooLarge { .. } => {
                self.failed(Failure::Poison(anyhow!(text)), attempts)
            }
            BrokerError::Misconfigured { .. } => {
                self.failed(Failure::retry(anyhow!(text)), attempts)
            }
        }
    }

    /// Holds the delivery while the queue ahead is full: so pressure goes back
    /// to the source, and nothing is downloaded or decoded twice for it.
    async fn send_when_there_is_room(&self, messages: &[Message]) -> Result<(), BrokerError> {
        let hold = Hold::begin(&self.stopping);
        for batch in messages.chunks(BATCH) {
            match self.sender.send_all(batch).await {
                // One by one: what room there is must not be filled again and again
                // with the first of them.
                Err(BrokerError::Full(_)) => {
                    for message in batch {
                        self.send_into_room(message, &hold).await?;
                    }
                }
                sent => sent?,
            }
        }
        Ok(())
    }

    async fn send_into_room(&self, message: &Message, hold: &Hold<'_>) -> Result<(), BrokerError> {
        for waits in 0.. {
            match self.sender.send(message.clone()).await {
                Err(BrokerError::Full(queue)) if hold.may_go_on() => {
                    debug!(%queue, "full: waiting for room");
                    hold.wait(waits).await;
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
                error: format!("given up ({error}), but the books can't be told: {unsent:#}"),
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
                self.metrics.dead_lettered(kind).increment(1);
                let stage = self.stage.name().to_owned();
                settle
                    .dead_letter(&DeadLetterReason { kind, stage, error })
                    .await
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
            Err(error) => warn!(
                queue,
                error = format!("{error:#}"),
                "could not be settled: it will come again"
            ),
        }
    }
}

/// A delivery that is held until the world is better, within a limit.
struct Hold<'a> {
    since: Instant,
    stopping: &'a CancellationToken,
}

impl<'a> Hold<'a> {
    fn begin(stopping: &'a CancellationToken) -> Self {
        Self {
            since: Instant::now(),
            stopping,
        }
    }

    fn may_go_on(&self) -> bool {
        self.since.elapsed() < HOLD_LIMIT && !self.stopping.is_cancelled()
    }

    async fn wait(&self, waits: u32) {
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = tokio::time::sleep(HOLD_WAIT.delay(waits, None)) => {}
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
