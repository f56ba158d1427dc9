//! A piece of work that a trainer holds a lease on, and the most usual one: a run that becomes a
//! model.

use anyhow::{Context, Result};
use async_trait::async_trait;
use maskline_foundation::telemetry_names::{attribute, span};
use maskline_messages::RunId;
use maskline_runtime::WorkContext;
use maskline_storage::{
    lease::LeaseProgress,
    records::{Run, RunState},
};
use tokio::runtime::Handle;
use tracing::Span;

use crate::{
    checkpoint, interrupt::Interrupt, permanent_error::PermanentError, publish,
    resources::Resources,
};

/// A piece of leased work. The worker settles the lease by what comes of it.
#[async_trait]
pub(crate) trait Task: Send + Sync {
    /// The run that is trained.
    fn run(&self) -> RunId;

    /// Says whether the run is still to be trained. What is left of one that is not takes no time,
    /// and is done however many trainers died before.
    fn is_open(&self) -> bool;

    /// The trace in which the work was asked for.
    fn traceparent(&self) -> Option<&str>;

    /// The name of its span.
    fn span(&self) -> &'static str;

    /// What the span is about.
    fn attributes(&self) -> Vec<(&'static str, String)>;

    /// Brings the work to its end. Returns `false` if the service is asked to stop before.
    async fn finish(
        &self,
        interrupt: &Interrupt,
        progress: LeaseProgress,
        context: &WorkContext,
    ) -> Result<bool>;

    /// Records that the run can't be trained.
    async fn give_up(&self, error: &PermanentError) -> Result<()>;
}

/// A run that is trained to its end and published.
pub(crate) struct TrainingTask {
    pub(crate) resources: Resources,
    pub(crate) run: Run,
}

#[async_trait]
impl Task for TrainingTask {
    fn run(&self) -> RunId {
        self.run.id
    }

    fn is_open(&self) -> bool {
        self.run.state == RunState::Open
    }

    fn traceparent(&self) -> Option<&str> {
        self.run.traceparent.as_deref()
    }

    fn span(&self) -> &'static str {
        span::TRAIN
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let run = &self.run;
        let mut attributes = vec![
            (attribute::RUN_ID, run.id.to_string()),
            (attribute::NETWORK, run.network.to_string()),
            (attribute::DATASET_ID, run.dataset.to_string()),
        ];
        attributes.extend(run.job.map(|job| (attribute::JOB_ID, job.to_string())));
        attributes
    }

    async fn finish(
        &self,
        interrupt: &Interrupt,
        progress: LeaseProgress,
        context: &WorkContext,
    ) -> Result<bool> {
        let id = self.run.id;
        let Resources {
            objects, library, ..
        } = &self.resources;
        match self.run.state {
            RunState::Open => {
                let record = self.run.clone();
                let training = self.resources.training(record, interrupt, progress);
                let (runtime, span) = (Handle::current(), Span::current());
                let executing = move || span.in_scope(|| training.execute(&runtime));
                let Some(model) = tokio::task::spawn_blocking(executing).await?? else {
                    return Ok(false);
                };
                interrupt.check_lease(id)?;
                let mut run = self.current().await?;
                publish::publish(&**objects, &**library, &mut run, model, context).await?;
            }
            // The trainer that published the model may have died before it sent the message.
            RunState::Done => {
                if let Some(model) = library.model(id).await? {
                    publish::announce(&model, context).await?;
                }
            }
            RunState::Failed => return Ok(true),
        }
        checkpoint::clear(objects, id).await?;
        Ok(true)
    }

    async fn give_up(&self, error: &PermanentError) -> Result<()> {
        let mut run = self.current().await?;
        run.state = RunState::Failed;
        run.error = Some(error.to_string());
        self.resources.library.update_run(&run).await?;
        if error.cause_can_be_removed() {
            return Ok(());
        }
        checkpoint::clear(&self.resources.objects, run.id).await
    }
}

impl TrainingTask {
    /// The run as it is by now.
    async fn current(&self) -> Result<Run> {
        let id = self.run.id;
        let run = self.resources.library.run(id).await?;
        run.with_context(|| format!("run {id} is not in the catalog any more"))
    }
}
