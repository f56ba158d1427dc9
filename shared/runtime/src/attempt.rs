//! One attempt at one message: decode it, handle it, send what follows, settle it.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration, time::Instant};

use anyhow::anyhow;
use futures::FutureExt;
use maskline_foundation::{Backoff, RetryPolicy};
use maskline_messages::Message;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, warn};

use crate::{
    broker::{BrokerError, DeadLetterKind, DeadLetterReason, Delivery, Publish, Settle},
    context::Context,
    intake::Intake,
    metrics::QueueMetrics,
    sender::{Sender, age},
    stage::{Failure, Outcome},
    telemetry::Processing,
};

/// How long a delivery is held while a store is away or the queue ahead is full. RabbitMQ
/// takes a delivery back after half an hour, so this is less.
const HOLD_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The waits while a delivery is held, in seconds.
const HOLD_WAITS: Backoff = Backoff::doubling(0.1, 5.0);

/// A message that was delivered so often and never settled is given up unhandled: it may
/// be what kills the processes that take it. RabbitMQ has a limit of its own, past which
/// nobody would report the failure to the storer, so this one is lower.
const MAX_REDELIVERIES: u32 = 50;

/// How many messages are sent at a time.
const BATCH: usize = 64;

/// What all attempts at the messages of one queue share.
#[derive(Clone)]
pub struct Handling {
    /// The service's name.
    pub stage: &'static str,
    pub intake: Intake,
    pub broker: Arc<dyn Publish>,
    pub sender: Sender,
    pub retry: RetryPolicy,
    pub metrics: QueueMetrics,
    pub stopping: CancellationToken,
}

/// How an attempt ended. It decides how the delivery is settled.
enum AttemptOutcome {
    /// The message is handled, and everything that follows from it is confirmed.
    Done,
    /// The message is to be tried again after a while.
    Retry { error: String, after: Duration },
    /// The turn of the message has not come. It comes again after a while, and the attempt is
    /// not counted.
    Postponed { error: String, after: Duration },
    /// The message goes to the dead letters.
    GivenUp { kind: DeadLetterKind, error: String },
    /// A store or the broker was away for too long, which is not the message's fault. The
    /// message goes back to its queue, and the attempt is not counted.
    Released { error: String },
}

impl Handling {
    /// Handles one delivery and settles it. If this future is dropped before that, the
    /// broker delivers the message again.
    pub async fn attempt(self, delivery: Delivery) {
        let processing = Processing::start(&*self.broker, self.stage, &delivery);
        let span = processing.span();
        self.process(delivery, &processing).instrument(span).await;
    }

    async fn process(mut self, delivery: Delivery, processing: &Processing) {
        let _in_flight = InFlight::enter(&self.metrics);
        if !delivery.came_before {
            let waited = age(&delivery.envelope.headers);
            waited.inspect(|waited| self.metrics.waited.record(waited.as_secs_f64()));
        }
        let start = Instant::now();
        let attempts = delivery.attempts;
        let decoded = Message::from_json(&delivery.envelope.body);
        let outcome = match &decoded {
            Ok(_) if delivery.redelivered >= MAX_REDELIVERIES => AttemptOutcome::GivenUp {
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
            Err(malformed) => AttemptOutcome::GivenUp {
                kind: DeadLetterKind::Poison,
                error: format!("{:#}", anyhow!("{malformed}")),
            },
        };
        let outcome = self
            .report_failure(decoded.ok().as_ref(), attempts, outcome)
            .await;
        self.metrics.seconds.record(start.elapsed().as_secs_f64());
        self.settle(delivery.settle, attempts, outcome, processing)
            .await;
    }

    async fn handle(
        &self,
        message: Message,
        attempts: u32,
        processing: &Processing,
    ) -> AttemptOutcome {
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

    /// Handles the message again and again while a store is away. Such deliveries soon have all
    /// permits, so that nothing more is taken from the queue until the store is back.
    async fn handle_through_outages(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let hold = Hold::begin(&self.stopping);
        let mut backoff = HOLD_WAITS;
        loop {
            let handled = AssertUnwindSafe(self.intake.handle(message.clone(), context))
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| Err(Failure::Poison(panicked(&*panic))));
            match handled {
                Err(Failure::Outage(error)) if hold.may_go_on() => {
                    let (queue, error) = (self.intake.queue, format!("{error:#}"));
                    warn!(%queue, error, "a store is away: waiting for it");
                    hold.wait(&mut backoff).await;
                }
                handled => return handled,
            }
        }
    }

    fn failed(&self, failure: Failure, attempts: u32) -> AttemptOutcome {
        let error = failure.to_string();
        match failure {
            Failure::Poison(_) => AttemptOutcome::GivenUp {
                kind: DeadLetterKind::Poison,
                error,
            },
            Failure::Outage(_) => AttemptOutcome::Released { error },
            Failure::Postponed { after, .. } => AttemptOutcome::Postponed {
                error,
                after: RetryPolicy::postponed(after),
            },
            Failure::Retry { .. } if self.retry.is_last(attempts) => AttemptOutcome::GivenUp {
                kind: DeadLetterKind::RetriesExhausted,
                error,
            },
            Failure::Retry { after, .. } => AttemptOutcome::Retry {
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
    ) -> AttemptOutcome {
        let Outcome { messages, last } = outcome;
        for messages in [messages.as_slice(), last.as_slice()] {
            if let Err(error) = self.send_when_there_is_room(messages).await {
                return self.not_sent(error, attempts);
            }
        }
        let sent = || messages.iter().chain(&last);
        processing.sent(about, sent());
        self.metrics.rejected(sent());
        AttemptOutcome::Done
    }

    fn not_sent(&self, error: BrokerError, attempts: u32) -> AttemptOutcome {
        let text = format!("what follows from it can't be sent: {error:#}");
        match error {
            BrokerError::Unavailable { .. } | BrokerError::Full(_) | BrokerError::Stale => {
                AttemptOutcome::Released { error: text }
            }
            // A message that no queue takes, or that is too large, is this program's fault.
            BrokerError::Unroutable(_) | BrokerError::TooLarge { .. } => {
                self.failed(Failure::Poison(anyhow!(text)), attempts)
            }
            BrokerError::Misconfigured { .. } => {
                self.failed(Failure::retry(anyhow!(text)), attempts)
            }
        }
    }

    /// Waits with the delivery in hand while the queue ahead is full. So the pressure goes back
    /// to the source, and no image is downloaded or decoded twice because of it.
    async fn send_when_there_is_room(&self, messages: &[Message]) -> Result<(), BrokerError> {
        let hold = Hold::begin(&self.stopping);
        for batch in messages.chunks(BATCH) {
            match self.sender.send_all(batch).await {
                // They are sent one by one from here on. Otherwise every try would fill
                // the free room of the queue with the first of them again.
                Err(BrokerError::Full(_)) => {
                    for message in batch {
                        self.send_one_when_there_is_room(message, &hold).await?;
                    }
                }
                sent => sent?,
            }
        }
        Ok(())
    }

    async fn send_one_when_there_is_room(
        &self,
        message: &Message,
        hold: &Hold<'_>,
    ) -> Result<(), BrokerError> {
        let mut backoff = HOLD_WAITS;
        loop {
            match self.sender.send(message.clone()).await {
                Err(BrokerError::Full(queue)) if hold.may_go_on() => {
                    debug!(%queue, "full: waiting for room");
                    hold.wait(&mut backoff).await;
                }
                sent => return sent,
            }
        }
    }

    /// The candidate or the job of a message that is given up has failed. The storer gets
    /// a report of this before the message is dead-lettered. Otherwise the job would wait
    /// for the candidate forever.
    async fn report_failure(
        &self,
        message: Option<&Message>,
        attempts: u32,
        outcome: AttemptOutcome,
    ) -> AttemptOutcome {
        let AttemptOutcome::GivenUp { error, .. } = &outcome else {
            return outcome;
        };
        let failure =
            message.and_then(|m| m.failure(self.stage, error, attempts.saturating_add(1)));
        let Some(failure) = failure else {
            return outcome;
        };
        match self.send_when_there_is_room(&[failure]).await {
            Ok(()) => outcome,
            Err(unsent) => AttemptOutcome::Released {
                error: format!(
                    "given up ({error}), but the failure can't be reported to the storer: {unsent:#}"
                ),
            },
        }
    }

    async fn settle(
        &self,
        settle: Box<dyn Settle>,
        attempts: u32,
        outcome: AttemptOutcome,
        processing: &Processing,
    ) {
        let queue = self.intake.queue.name();
        let settled = match outcome {
            AttemptOutcome::Done => settle.ack().await.inspect(|()| {
                self.metrics.handled.increment(1);
                debug!(queue, "handled");
            }),
            AttemptOutcome::Retry { error, after } => {
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
            AttemptOutcome::Postponed { error, after } => {
                debug!(queue, ?after, error, "waits for its turn");
                processing.postponed(&error, after);
                self.metrics.postponed.increment(1);
                settle.postpone(after, &error).await
            }
            AttemptOutcome::GivenUp { kind, error } => {
                error!(
                    queue,
                    attempt = attempts + 1,
                    ?kind,
                    error,
                    "to the dead letters"
                );
                processing.dead_lettered(kind, &error);
                self.metrics.dead_lettered(kind).increment(1);
                let stage = self.stage.to_owned();
                settle
                    .dead_letter(&DeadLetterReason { kind, stage, error })
                    .await
            }
            AttemptOutcome::Released { error } => {
                warn!(queue, error, "goes back to its queue");
                processing.released(&error);
                self.metrics.released.increment(1);
                settle.release().await
            }
        };
        match settled {
            Ok(()) => {}
            Err(BrokerError::Stale) => debug!(
                queue,
                "the broker took the delivery back: it will come again"
            ),
            Err(error) => warn!(
                queue,
                error = format!("{error:#}"),
                "could not be settled: it will come again"
            ),
        }
    }
}

/// The time for which a delivery is held before it is settled. It has a limit, and a stop ends
/// it.
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

    async fn wait(&self, backoff: &mut Backoff) {
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = backoff.wait() => {}
        }
    }
}

/// Counts a message as in flight until it is dropped, so that an attempt that is cut off
/// is not counted forever.
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

/// The message of a caught panic, as an error.
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    anyhow!("panicked: {}", message.unwrap_or("(no message)"))
}
