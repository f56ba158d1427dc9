//! A rung of a trial as a piece of work.

use anyhow::{Context, Result};
use async_trait::async_trait;
use maskline_foundation::telemetry_names::{attribute, span};
use maskline_messages::RunId;
use maskline_models::prediction::Score;
use maskline_runtime::WorkContext;
use maskline_storage::{
    lease::LeaseProgress,
    records::{Run, Study, TrialOutcome, TrialResult, TrialRung},
};
use tokio::runtime::Handle;
use tracing::Span;

use super::{advance, outcome};
use crate::{
    checkpoint, interrupt::Interrupt, permanent_error::PermanentError, resources::Resources,
    run::TrainingRun, task::Task,
};

/// A rung of a trial, which is trained from the checkpoint of the rung before.
pub(crate) struct TrialTask {
    resources: Resources,
    study: Study,
    of: TrialRung,
    run: Run,
    /// How many epochs the trial has trained at the end of the rung.
    epochs: u32,
    /// Whether the result is there: a trainer recorded it and died before it had done what follows.
    has_result: bool,
}

impl TrialTask {
    pub(crate) async fn new(resources: Resources, of: TrialRung) -> Result<Self> {
        let study = resources.studies.study(of.study).await?;
        let study = study.with_context(|| format!("study {} is not in the catalog", of.study))?;
        let missing = || format!("the study has no trial and rung {of}");
        let run = study.run(of.trial).with_context(missing)?;
        let epochs = study.rungs.get(of.rung as usize).copied();
        let epochs = epochs.with_context(missing)?;
        let results = resources.studies.results(of.study).await?;
        Ok(Self {
            has_result: outcome(&results, of.rung, of.trial).is_some(),
            resources,
            study,
            of,
            run,
            epochs,
        })
    }

    /// Trains the rung. Returns `None` if the service is asked to stop before its end.
    async fn train(
        &self,
        interrupt: &Interrupt,
        progress: LeaseProgress,
    ) -> Result<Option<TrialOutcome>> {
        let record = self.run.clone();
        let training = TrainingRun {
            is_trial: true,
            ..self.resources.training(record, interrupt, progress)
        };
        let (epochs, network) = (self.epochs, self.study.network);
        let (runtime, span) = (Handle::current(), Span::current());
        let executing = move || span.in_scope(|| training.execute_until(epochs, network, &runtime));
        let score = tokio::task::spawn_blocking(executing).await??;
        Ok(score.map(|score| self.judged(score)))
    }

    fn judged(&self, Score { accuracy, loss }: Score) -> TrialOutcome {
        let TrialRung { study, trial, .. } = self.of;
        let epochs = self.epochs;
        tracing::info!(%study, trial, epochs, accuracy, loss, "a trial has done a rung");
        TrialOutcome::Scored { accuracy, loss }
    }

    async fn record(&self, outcome: TrialOutcome) -> Result<()> {
        let result = TrialResult {
            of: self.of,
            outcome,
        };
        Ok(self.resources.studies.record_result(&result).await?)
    }
}

#[async_trait]
impl Task for TrialTask {
    fn run(&self) -> RunId {
        self.run.id
    }

    fn is_open(&self) -> bool {
        !self.has_result
    }

    fn traceparent(&self) -> Option<&str> {
        self.study.traceparent.as_deref()
    }

    fn span(&self) -> &'static str {
        span::TRIAL
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![
            (attribute::STUDY_ID, self.of.study.to_string()),
            (attribute::TRIAL, self.of.trial.to_string()),
            (attribute::RUNG, self.of.rung.to_string()),
            (attribute::RUN_ID, self.run.id.to_string()),
            (attribute::NETWORK, self.study.network.to_string()),
            (attribute::DATASET_ID, self.study.dataset.to_string()),
        ]
    }

    /// The order is what makes the study recoverable: the checkpoint, the result, what follows from
    /// it, and only then the end of the lease, by the worker.
    async fn finish(
        &self,
        interrupt: &Interrupt,
        progress: LeaseProgress,
        _context: &WorkContext,
    ) -> Result<bool> {
        if self.is_open() {
            let Some(outcome) = self.train(interrupt, progress).await? else {
                return Ok(false);
            };
            interrupt.check_lease(self.run.id)?;
            self.record(outcome).await?;
        }
        advance(&self.resources, &self.study).await?;
        Ok(true)
    }

    async fn give_up(&self, error: &PermanentError) -> Result<()> {
        let error = error.to_string();
        self.record(TrialOutcome::Failed { error }).await?;
        // Nobody goes on from it.
        checkpoint::clear(&self.resources.objects, self.run.id).await?;
        advance(&self.resources, &self.study).await
    }
}
