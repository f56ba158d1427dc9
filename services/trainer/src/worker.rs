//! The worker: processes one run at a time, and decides what becomes of one that fails.

use std::sync::Arc;

use anyhow::{Context, Error, Result, bail};
use async_trait::async_trait;
use maskline_foundation::telemetry_names::{attribute, span};
use maskline_messages::RunId;
use maskline_models::device::Compute;
use maskline_runtime::{BrokerError, EndsProcess, WorkContext, Worker, telemetry};
use maskline_storage::{
    ObjectStore, StorageError,
    catalog::{Jobs, Library},
    lease::{HeldLease, LeaseProgress, LeaseWatch},
    records::{Run, RunState, Work},
};
use tokio::{runtime::Handle, sync::Notify};
use tracing::Span;

use crate::{
    checkpoint, interrupt::Interrupt, permanent_error::PermanentError, publish, run::TrainingRun,
};

/// The number of times in a row that a run may fail for unknown reasons, or end the process
/// that trains it, before it is given up.
const MAX_FAILURES: u32 = 5;

/// Trains networks.
pub(crate) struct Trainer {
    objects: Arc<dyn ObjectStore>,
    library: Arc<dyn Library>,
    jobs: Arc<dyn Jobs>,
    leases: LeaseWatch,
    notify: Arc<Notify>,
    compute: Compute,
    /// The memory that decoded images may take, in bytes.
    image_memory: u64,
}

#[async_trait]
impl Worker for Trainer {
    fn name(&self) -> &'static str {
        "train"
    }

    fn notify(&self) -> Arc<Notify> {
        self.notify.clone()
    }

    async fn work(&self, context: &WorkContext) -> Result<bool> {
        let claimed = self.leases.claim_any("train", &context.instance).await?;
        let Some(lease) = claimed else {
            return Ok(false);
        };
        let &Work::Train(id) = lease.work() else {
            bail!("{} is not a training run", lease.work());
        };
        let run = self.run(id).await?;
        let mut attributes = vec![
            (attribute::RUN_ID, id.to_string()),
            (attribute::NETWORK, run.network.to_string()),
            (attribute::DATASET_ID, run.dataset.to_string()),
        ];
        attributes.extend(run.job.map(|job| (attribute::JOB_ID, job.to_string())));
        let traceparent = run.traceparent.clone();
        let processing = self.process(run, lease, context);
        telemetry::in_span_from(traceparent.as_deref(), span::TRAIN, attributes, processing)
            .await?;
        Ok(true)
    }
}

impl Trainer {
    pub(crate) fn new(
        objects: Arc<dyn ObjectStore>,
        library: Arc<dyn Library>,
        jobs: Arc<dyn Jobs>,
        leases: LeaseWatch,
        notify: Arc<Notify>,
        compute: Compute,
        image_memory: u64,
    ) -> Self {
        Self {
            objects,
            library,
            jobs,
            leases,
            notify,
            compute,
            image_memory,
        }
    }

    async fn run(&self, id: RunId) -> Result<Run> {
        let run = self.library.run(id).await?;
        run.with_context(|| format!("run {id} is to be trained but not in the catalog"))
    }

    /// Brings the run to its end and settles the lease by what came of it.
    async fn process(&self, run: Run, lease: HeldLease, context: &WorkContext) -> Result<()> {
        let interrupt = Interrupt {
            stopping: context.stopping.clone(),
            lease_lost: lease.lost_token(),
        };
        let (id, times) = (run.id, lease.failures());
        if run.state == RunState::Open && times >= MAX_FAILURES {
            let error = PermanentError::EndsTrainers { times };
            return self.give_up(id, &error, lease).await;
        }
        let progress = lease.progress();
        let error = match self.finish(run, &interrupt, progress, context).await {
            Ok(true) => return Ok(lease.finish().await?),
            Ok(false) => {
                tracing::info!(run = %id, "given back before its end, because the service stops");
                return Ok(lease.release().await?);
            }
            // The trainer that has the run now decides what becomes of it.
            Err(error) if interrupt.lease_lost.is_cancelled() => return Err(error),
            Err(error) => error,
        };
        // The run is not to blame, and whoever gets it goes on from its checkpoint.
        if self.device_is_lost().await {
            lease.release().await?;
            let name = &self.compute.name;
            return Err(EndsProcess(format!(
                "{name} does not answer any more ({error:#}). The process ends, because only a new \
                 one can open a device again: start it again, and the run goes on from its last \
                 checkpoint"
            ))
            .into());
        }
        match Verdict::of(&error, lease.failures()) {
            Verdict::GiveUp(permanent) => return self.give_up(id, &permanent, lease).await,
            Verdict::RetryForever => lease.release().await?,
            Verdict::Retry => lease.fail().await?,
        }
        Err(error)
    }

    /// Brings the run to its end. Returns `false` if the service is asked to stop before.
    async fn finish(
        &self,
        run: Run,
        interrupt: &Interrupt,
        lease_progress: LeaseProgress,
        context: &WorkContext,
    ) -> Result<bool> {
        let id = run.id;
        match run.state {
            RunState::Open => {
                let training = TrainingRun {
                    objects: self.objects.clone(),
                    library: self.library.clone(),
                    jobs: self.jobs.clone(),
                    record: run,
                    compute: self.compute.clone(),
                    image_memory: self.image_memory,
                    interrupt: interrupt.clone(),
                    lease_progress,
                };
                let (runtime, span) = (Handle::current(), Span::current());
                let executing = move || span.in_scope(|| training.execute(&runtime));
                let Some(model) = tokio::task::spawn_blocking(executing).await?? else {
                    return Ok(false);
                };
                interrupt.check_lease(id)?;
                let mut run = self.run(id).await?;
                publish::publish(&*self.objects, &*self.library, &mut run, model, context).await?;
            }
            // The trainer that published the model may have died before it sent the message.
            RunState::Done => {
                if let Some(model) = self.library.model(id).await? {
                    publish::announce(&model, context).await?;
                }
            }
            RunState::Failed => {}
        }
        checkpoint::clear(&self.objects, id).await?;
        Ok(true)
    }

    /// Whether the GPU that a run has failed on does not compute any more.
    async fn device_is_lost(&self) -> bool {
        let compute = self.compute.clone();
        let asking = move || compute.is_gpu && !compute.answers();
        tokio::task::spawn_blocking(asking).await.unwrap_or(true)
    }

    async fn give_up(&self, id: RunId, error: &PermanentError, lease: HeldLease) -> Result<()> {
        tracing::error!(run = %id, %error, "the run failed");
        telemetry::given_up(&error.to_string());
        let mut run = self.run(id).await?;
        run.state = RunState::Failed;
        run.error = Some(error.to_string());
        self.library.update_run(&run).await?;
        checkpoint::clear(&self.objects, id).await?;
        Ok(lease.finish().await?)
    }
}

/// What an error means for the run.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// No retry helps.
    GiveUp(PermanentError),
    /// Storage or broker cannot be reached: the run is retried until they can.
    RetryForever,
    /// The cause is unknown: the run is retried a few times.
    Retry,
}

impl Verdict {
    /// `failures` is the number of times in a row that the run has failed before.
    fn of(error: &Error, failures: u32) -> Self {
        if let Some(permanent) = error.downcast_ref::<PermanentError>() {
            return Self::GiveUp(permanent.clone());
        }
        let is_outage = |cause: &(dyn std::error::Error + 'static)| {
            let storage = cause.downcast_ref::<StorageError>();
            storage.is_some_and(StorageError::is_transient) || cause.is::<BrokerError>()
        };
        if error.chain().any(is_outage) {
            return Self::RetryForever;
        }
        match failures + 1 {
            times @ MAX_FAILURES.. => Self::GiveUp(PermanentError::TooManyFailures {
                times,
                error: format!("{error:#}"),
            }),
            _ => Self::Retry,
        }
    }
}

#[cfg(test)]
mod tests;
