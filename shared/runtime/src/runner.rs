//! Runs services over a broker until they are asked to stop.
//!
//! ```text
//! Runner ─┬─ intake: consume ─▶ a task for each message, `concurrency` at a time
//!         ├─ worker: work, wait for a notification or the interval, work …
//!         └─ HTTP port
//! ```
//!
//! A stop takes three steps. First, nothing more is taken. Second, the messages in hand
//! are finished, within the grace period. Third, those that are still in hand are dropped,
//! and the broker delivers them again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use maskline_foundation::RetryPolicy;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    attempt::Handling,
    broker::{Broker, BrokerError, Consume, Consumer},
    config::RuntimeArgs,
    context::WorkContext,
    http::Port,
    instance::instance,
    intake::Intake,
    metrics::{self, QueueLengths, QueueMetrics},
    sender::Sender,
    service::{Probe, Service},
    work::keep_working,
};

/// Runs `services` until `stop` is cancelled, or until one of them can't go on.
///
/// This does not touch signals and does not close the broker.
pub async fn run(
    services: Vec<Service>,
    args: &RuntimeArgs,
    broker: Arc<dyn Broker>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    Runner::bind(services, args, broker).await?.run(stop).await
}

/// Services that are about to run. Their HTTP port is bound already.
pub struct Runner {
    services: Vec<Service>,
    args: RuntimeArgs,
    broker: Arc<dyn Broker>,
    port: Option<Port>,
}

impl Runner {
    pub async fn bind(
        services: Vec<Service>,
        args: &RuntimeArgs,
        broker: Arc<dyn Broker>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            services,
            args: args.clone(),
            broker,
            port: Port::bind(args.http).await?,
        })
    }

    /// The address of `/healthz`, `/readyz` and `/metrics`. `None` if they are off.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.port.as_ref().map(|port| port.address)
    }

    /// Runs until `stop` is cancelled. If one service can't go on, all of them stop.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        // This is a child token: a failure here stops the services and not whatever else
        // the caller runs.
        let stopping = stop.child_token();
        let closing = CancellationToken::new();
        let _close = closing.clone().drop_guard();
        let mut running = JoinSet::new();
        self.start_port(&stopping, &closing);
        for service in &self.services {
            self.start(service, &stopping, &mut running);
        }
        let mut result = Ok(());
        while let Some(ended) = running.join_next().await {
            let ended = ended.context("the runner itself panicked").flatten();
            if let Err(error) = ended {
                stopping.cancel();
                result = result.and(Err(error));
            }
        }
        result
    }

    fn start_port(&mut self, stopping: &CancellationToken, closing: &CancellationToken) {
        if let Some(port) = self.port.take() {
            let address = port.address;
            info!(http = %address, "serving /healthz, /readyz and /metrics");
            let (stopping, probes) = (stopping.clone(), self.probes());
            let intakes = self.services.iter().flat_map(|service| &service.intakes);
            let queues = intakes.map(|intake| intake.queue);
            let lengths = QueueLengths::new(self.broker.clone(), queues);
            let serve = port.serve(probes, lengths, stopping, closing.clone());
            tokio::spawn(async move {
                if let Err(error) = serve.await {
                    warn!(error = format!("{error:#}"), "no more /readyz and /metrics");
                }
            });
        }
        tokio::spawn(closing.clone().run_until_cancelled_owned(async {
            let mut ticks = tokio::time::interval(metrics::UPKEEP_EVERY);
            loop {
                ticks.tick().await;
                metrics::upkeep();
            }
        }));
    }

    /// One probe of each name. The broker's is the first.
    fn probes(&self) -> Vec<Probe> {
        let broker = self.broker.clone();
        let mut probes = vec![Probe::new("broker", move || {
            let broker = broker.clone();
            async move { Ok(broker.ping().await?) }
        })];
        for probe in self.services.iter().flat_map(|service| &service.probes) {
            if probes.iter().all(|known| known.name != probe.name) {
                probes.push(probe.clone());
            }
        }
        probes
    }

    fn start(
        &self,
        service: &Service,
        stopping: &CancellationToken,
        running: &mut JoinSet<anyhow::Result<()>>,
    ) {
        for intake in &service.intakes {
            let taker = self.taker(service.name, intake, stopping);
            running.spawn(taker.run());
        }
        for worker in &service.workers {
            let context = WorkContext {
                instance: instance().to_owned(),
                stopping: stopping.clone(),
                sender: Sender::new(self.broker.clone()),
            };
            let interval = self.args.worker_interval();
            let working = keep_working(service.name, worker.clone(), context, interval);
            running.spawn(within_grace(working, stopping.clone(), self.args.clone()));
        }
        info!(
            stage = service.name,
            broker = self.broker.system(),
            "started"
        );
    }

    fn taker(&self, stage: &'static str, intake: &Intake, stopping: &CancellationToken) -> Taker {
        let asked = self.args.concurrency.map(usize::from);
        let concurrency = asked.unwrap_or(intake.concurrency);
        let concurrency = concurrency.clamp(1, MAX_CONCURRENCY);
        Taker {
            broker: self.broker.clone(),
            concurrency,
            args: self.args.clone(),
            stopping: stopping.clone(),
            handling: Handling {
                stage,
                intake: intake.clone(),
                broker: self.broker.clone(),
                sender: Sender::new(self.broker.clone()),
                retry: self.args.retry,
                metrics: QueueMetrics::new(stage, intake.queue, concurrency),
                stopping: stopping.clone(),
            },
        }
    }
}

const MAX_CONCURRENCY: usize = 1024;

/// How long to wait for the attempts that are cut off to end.
const CUT_OFF_LIMIT: Duration = Duration::from_secs(1);

/// Drops work that does not end within the grace period. Its lease runs out later, and
/// another replica goes on with it.
async fn within_grace(
    working: impl Future<Output = anyhow::Result<()>>,
    stopping: CancellationToken,
    args: RuntimeArgs,
) -> anyhow::Result<()> {
    let too_late = async {
        stopping.cancelled().await;
        tokio::time::sleep(args.grace()).await;
    };
    tokio::select! {
        worked = working => worked,
        () = too_late => {
            warn!("work cut off at the end of the grace period");
            Ok(())
        }
    }
}

/// Takes messages from one queue.
struct Taker {
    broker: Arc<dyn Consume>,
    concurrency: usize,
    args: RuntimeArgs,
    stopping: CancellationToken,
    handling: Handling,
}

impl Taker {
    async fn run(self) -> anyhow::Result<()> {
        let Some(mut consumer) = self.consumer().await? else {
            return Ok(());
        };
        let mut attempts = JoinSet::new();
        let taken = self.take(consumer.as_mut(), &mut attempts).await;
        // The time is limited because a broker that accepts nothing now does not accept the
        // cancellation either.
        let closing = tokio::time::timeout(self.args.grace(), consumer.close());
        let _ = tokio::join!(closing, self.finish(attempts));
        taken
    }

    /// Subscribes to the queue. Waits for a broker that is not available yet. `None` means
    /// that the service was stopped meanwhile.
    async fn consumer(&self) -> anyhow::Result<Option<Box<dyn Consumer>>> {
        let queue = self.handling.intake.queue;
        let mut backoff = RetryPolicy::DEFAULT.backoff();
        loop {
            match self.broker.consume(queue, self.prefetch()).await {
                Ok(consumer) => return Ok(Some(consumer)),
                Err(error @ BrokerError::Unavailable { .. }) => {
                    let error = format!("{error:#}");
                    let wait = backoff.next_wait();
                    warn!(%queue, error, ?wait, "can't take messages yet");
                    tokio::select! {
                        () = self.stopping.cancelled() => return Ok(None),
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                Err(error) => return Err(error).context(format!("can't take from {queue}")),
            }
        }
    }

    /// The prefetch is half as many again as are handled at a time, so that no permit waits
    /// for the broker. A handler of one message at a time takes long for each, and so
    /// prefetches none that a replica could handle.
    fn prefetch(&self) -> u16 {
        let prefetch = self.concurrency + self.concurrency / 2;
        u16::try_from(prefetch).unwrap_or(u16::MAX)
    }

    async fn take(
        &self,
        consumer: &mut dyn Consumer,
        attempts: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let permits = Arc::new(Semaphore::new(self.concurrency));
        loop {
            let permit = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Ok(()),
                permit = permits.clone().acquire_owned() => permit.expect("never closed"),
            };
            let delivery = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Ok(()),
                delivery = consumer.next() => delivery,
            };
            let queue = self.handling.intake.queue;
            let delivery = delivery.with_context(|| format!("the broker closed {queue}"))?;
            let handling = self.handling.clone();
            attempts.spawn(async move {
                handling.attempt(delivery).await;
                drop(permit);
            });
            while attempts.try_join_next().is_some() {}
        }
    }

    async fn finish(&self, mut attempts: JoinSet<()>) {
        let end = Instant::now() + self.args.grace();
        while let Ok(Some(_)) = tokio::time::timeout_at(end, attempts.join_next()).await {}
        if !attempts.is_empty() {
            let (queue, messages) = (self.handling.intake.queue, attempts.len());
            warn!(%queue, messages, "given back at the end of the grace period");
            let given_back = u64::try_from(messages).unwrap_or(u64::MAX);
            self.handling.metrics.released.increment(given_back);
            // A handler that blocks its thread can't be cut off. It ends with the process.
            let _ = tokio::time::timeout(CUT_OFF_LIMIT, attempts.shutdown()).await;
        }
    }
}
