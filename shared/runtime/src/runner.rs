//! Runs services over a broker until they are asked to stop.
//!
//! ```text
//! Runner ─┬─ intake: consume ─▶ a task for each message, `concurrency` at a time
//!         ├─ worker: work, wait for a notice or the interval, work …
//!         └─ HTTP port
//! ```
//!
//! A stop takes three steps: nothing more is taken; what is in hand is finished,
//! within the grace period; what is then still in hand is dropped, and by the
//! broker's promise delivered again.

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
    metrics::{self, QueueLengths, QueueMetrics},
    sender::Sender,
    service::{Probe, Service},
    stage::{Intake, Stage},
    work::keep_working,
};

/// Runs `services` until `stop`, or until one can't go on.
///
/// Does not touch signals and does not close the broker.
pub async fn run(
    services: Vec<Service>,
    args: &RuntimeArgs,
    broker: Arc<dyn Broker>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    Runner::bind(services, args, broker).await?.run(stop).await
}

/// Services about to run, their HTTP port bound.
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

    /// Where `/healthz`, `/readyz` and `/metrics` will be.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.port.as_ref().map(|port| port.address)
    }

    /// Runs until `stop`, or until one service can't go on: then all stop.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        // A child: a failure here stops what runs here, not the caller's other things.
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
            let intakes = self.services.iter().flat_map(|s| s.stage.intakes());
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

    /// One probe of each name, the broker's first.
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
        let stage = &service.stage;
        for intake in stage.intakes() {
            let taking = self.taking(stage, intake, stopping);
            running.spawn(taking.run());
        }
        for worker in &service.workers {
            let context = WorkContext {
                instance: instance().to_owned(),
                stopping: stopping.clone(),
                sender: Sender::new(self.broker.clone()),
            };
            let interval = self.args.worker_interval();
            let working = keep_working(stage.name(), worker.clone(), context, interval);
            running.spawn(within_grace(working, stopping.clone(), self.args.clone()));
        }
        info!(
            stage = stage.name(),
            broker = self.broker.system(),
            "started"
        );
    }

    fn taking(
        &self,
        stage: &Arc<dyn Stage>,
        intake: Intake,
        stopping: &CancellationToken,
    ) -> Taking {
        let asked = self.args.concurrency.map(usize::from);
        let concurrency = asked.unwrap_or(intake.concurrency);
        let concurrency = concurrency.clamp(1, MOST_CONCURRENCY);
        Taking {
            broker: self.broker.clone(),
            concurrency,
            args: self.args.clone(),
            stopping: stopping.clone(),
            handling: Handling {
                stage: stage.clone(),
                queue: intake.queue,
                broker: self.broker.clone(),
                sender: Sender::new(self.broker.clone()),
                retry: self.args.retry,
                metrics: QueueMetrics::new(stage.name(), intake.queue, concurrency),
                stopping: stopping.clone(),
            },
        }
    }
}

const MOST_CONCURRENCY: usize = 1024;

/// How long what is cut off may take to let go.
const CUT_OFF_LIMIT: Duration = Duration::from_secs(1);

/// Drops work that does not end within the grace period: its lease runs out.
async fn within_grace(
    working: impl Future<Output = ()>,
    stopping: CancellationToken,
    args: RuntimeArgs,
) -> anyhow::Result<()> {
    let too_late = async {
        stopping.cancelled().await;
        tokio::time::sleep(args.grace()).await;
    };
    tokio::select! {
        () = working => {}
        () = too_late => warn!("work cut off at the end of the grace period"),
    }
    Ok(())
}

/// Takes messages from one queue.
struct Taking {
    broker: Arc<dyn Consume>,
    concurrency: usize,
    args: RuntimeArgs,
    stopping: CancellationToken,
    handling: Handling,
}

impl Taking {
    async fn run(self) -> anyhow::Result<()> {
        let Some(mut consumer) = self.consumer().await? else {
            return Ok(());
        };
        let mut attempts = JoinSet::new();
        let taken = self.take(consumer.as_mut(), &mut attempts).await;
        // A broker that takes nothing now does not hear that no more is wanted.
        let closing = tokio::time::timeout(self.args.grace(), consumer.close());
        let _ = tokio::join!(closing, self.finish(attempts));
        taken
    }

    /// Waits for a broker that is not there yet. `None`: stopped meanwhile.
    async fn consumer(&self) -> anyhow::Result<Option<Box<dyn Consumer>>> {
        let queue = self.handling.queue;
        for failures in 0.. {
            match self.broker.consume(queue, self.prefetch()).await {
                Ok(consumer) => return Ok(Some(consumer)),
                Err(error @ BrokerError::Unavailable { .. }) => {
                    let error = format!("{error:#}");
                    let wait = RetryPolicy::DEFAULT.delay(failures, None);
                    warn!(%queue, error, ?wait, "can't take messages yet");
                    tokio::select! {
                        () = self.stopping.cancelled() => return Ok(None),
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                Err(error) => return Err(error).context(format!("can't take from {queue}")),
            }
        }
        Ok(None)
    }

    /// Half as many again as are handled at a time, so that none waits for the
    /// broker; a stage that handles one at a time (long ones) keeps none from
    /// its replicas.
    fn prefetch(&self) -> u16 {
        let prefetch = self.concurrency + self.concurrency / 2;
        u16::try_from(prefetch).unwrap_or(u16::MAX)
    }

    async fn take(
        &self,
        consumer: &mut dyn Consumer,
        attempts: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let places = Arc::new(Semaphore::new(self.concurrency));
        loop {
            let place = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Ok(()),
                place = places.clone().acquire_owned() => place.expect("never closed"),
            };
            let delivery = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Ok(()),
                delivery = consumer.next() => delivery,
            };
            let queue = self.handling.queue;
            let delivery = delivery.with_context(|| format!("the broker closed {queue}"))?;
            let handling = self.handling.clone();
            attempts.spawn(async move {
                handling.attempt(delivery).await;
                drop(place);
            });
            while attempts.try_join_next().is_some() {}
        }
    }

    async fn finish(&self, mut attempts: JoinSet<()>) {
        let end = Instant::now() + self.args.grace();
        while let Ok(Some(_)) = tokio::time::timeout_at(end, attempts.join_next()).await {}
        if !attempts.is_empty() {
            let (queue, messages) = (self.handling.queue, attempts.len());
            warn!(%queue, messages, "given back at the end of the grace period");
            let given_back = u64::try_from(messages).unwrap_or(u64::MAX);
            self.handling.metrics.released.increment(given_back);
            // A handler that blocks its thread can't be cut off: the process's end does that.
            let _ = tokio::time::timeout(CUT_OFF_LIMIT, attempts.shutdown()).await;
        }
    }
}
