//! The worker: does one piece of work at a time, and decides what becomes of one that fails.

use std::{cmp::Reverse, sync::Arc};

use anyhow::{Context, Error, Result, bail};
use async_trait::async_trait;
use maskline_models::device::Compute;
use maskline_runtime::{BrokerError, EndsProcess, WorkContext, Worker, telemetry};
use maskline_storage::{
    StorageError,
    lease::{HeldLease, LeaseWatch},
    records::{Lease, Work},
};
use tokio::sync::Notify;

use crate::{
    interrupt::Interrupt,
    permanent_error::PermanentError,
    resources::Resources,
    task::{Task, TrainingTask},
    tuning::TrialTask,
};

/// The number of times in a row that a run may fail for unknown reasons, lose its device, or end
/// the process that trains it, before it is given up. A checkpoint ends the row.
const MAX_FAILURES: u32 = 5;

/// Trains networks.
pub(crate) struct Trainer {
    resources: Resources,
    leases: LeaseWatch,
    notify: Arc<Notify>,
    /// Whether a device that a run has failed on does not compute any more.
    is_lost: fn(&Compute) -> bool,
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
        let Some(lease) = self.claim(&context.instance).await? else {
            return Ok(false);
        };
        let task = self.task(lease.work()).await?;
        let processing = self.process(&*task, lease, context);
        let traceparent = task.traceparent();
        telemetry::in_span_from(traceparent, task.span(), task.attributes(), processing).await?;
        Ok(true)
    }
}

impl Trainer {
    pub(crate) fn new(resources: Resources, leases: LeaseWatch, notify: Arc<Notify>) -> Self {
        Self {
            resources,
            leases,
            notify,
            is_lost: |compute| compute.is_gpu && !compute.answers(),
        }
    }

    /// Claims a piece of work. A run that somebody waits for comes before the trials of a study.
    async fn claim(&self, owner: &str) -> Result<Option<HeldLease>> {
        if let Some(held) = self.leases.claim_any("train", owner).await? {
            return Ok(Some(held));
        }
        let mut trials = self.leases.open_work("trial").await?;
        trials.sort_by_key(turn);
        for seen in trials {
            if let Some(held) = self.leases.claim(&seen, owner).await? {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }

    async fn task(&self, work: &Work) -> Result<Box<dyn Task>> {
        let resources = self.resources.clone();
        match *work {
            Work::Train(id) => {
                let run = resources.library.run(id).await?;
                let run = run
                    .with_context(|| format!("run {id} is to be trained but not in the catalog"))?;
                Ok(Box::new(TrainingTask { resources, run }))
            }
            Work::Trial(of) => Ok(Box::new(TrialTask::new(resources, of).await?)),
            Work::Freeze(_) => bail!("{work} is nothing to train"),
        }
    }

    /// Brings the task to its end and settles the lease by what came of it.
    async fn process(
        &self,
        task: &dyn Task,
        lease: HeldLease,
        context: &WorkContext,
    ) -> Result<()> {
        let interrupt = Interrupt {
            stopping: context.stopping.clone(),
            lease_lost: lease.lost_token(),
        };
        let (id, times) = (task.run(), lease.failures());
        if task.is_open() && times >= MAX_FAILURES {
            let error = PermanentError::EndsTrainers { times };
            return give_up(task, &error, lease).await;
        }
        let progress = lease.progress();
        let error = match task.finish(&interrupt, progress, context).await {
            Ok(true) => return Ok(lease.finish().await?),
            Ok(false) => {
                tracing::info!(run = %id, "given back before its end, because the service stops");
                return Ok(lease.release().await?);
            }
            // The trainer that has the run now decides what becomes of it.
            Err(error) if interrupt.lease_lost.is_cancelled() => return Err(error),
            Err(error) => error,
        };
        if self.device_is_lost().await {
            return self.end_with_device(task, &error, lease).await;
        }
        match Verdict::of(&error, lease.failures()) {
            Verdict::GiveUp(permanent) => return give_up(task, &permanent, lease).await,
            Verdict::RetryForever => lease.release().await?,
            Verdict::Retry => lease.fail().await?,
        }
        Err(error)
    }

    async fn device_is_lost(&self) -> bool {
        let (compute, is_lost) = (self.resources.compute.clone(), self.is_lost);
        let asking = move || is_lost(&compute);
        tokio::task::spawn_blocking(asking).await.unwrap_or(true)
    }

    /// Settles the lease of a run that lost its device, and ends the process. One loss may be
    /// anybody's fault: whoever gets the run goes on from its checkpoint. A run that loses its
    /// device again and again at the same place is to blame.
    async fn end_with_device(
        &self,
        task: &dyn Task,
        error: &Error,
        lease: HeldLease,
    ) -> Result<()> {
        let device = &self.resources.compute.name;
        let what_follows = match lease.failures() + 1 {
            times @ MAX_FAILURES.. => {
                let (device, error) = (device.clone(), format!("{error:#}"));
                let error = PermanentError::LosesDevice {
                    times,
                    device,
                    error,
                };
                give_up(task, &error, lease).await?;
                "start it again for the runs that wait"
            }
            _ => {
                lease.fail().await?;
                "start it again, and the run goes on from its last checkpoint"
            }
        };
        Err(EndsProcess(format!(
            "{device} does not answer any more ({error:#}). The process ends, because only a new \
             one can open a device again: {what_follows}"
        ))
        .into())
    }
}

/// Trials that are further come first, so that what decides most about a study is known early.
fn turn(lease: &Lease) -> Option<(Reverse<u32>, u32)> {
    match lease.work {
        Work::Trial(of) => Some((Reverse(of.rung), of.trial)),
        Work::Freeze(_) | Work::Train(_) => None,
    }
}

async fn give_up(task: &dyn Task, error: &PermanentError, lease: HeldLease) -> Result<()> {
    tracing::error!(run = %task.run(), %error, "the run failed");
    telemetry::given_up(&error.to_string());
    task.give_up(error).await?;
    Ok(lease.finish().await?)
}

/// What an error means for the run.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// No retry helps.
    GiveUp(PermanentError),
    /// Storage or broker can't be reached, or refuse everybody until a person repairs their
    /// configuration: the run is not to blame, and is retried until they answer.
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
            storage.is_some_and(StorageError::is_outage) || cause.is::<BrokerError>()
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
