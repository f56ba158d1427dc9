//! A training run as a person asks about it.

use anyhow::{Result, bail};
use maskline_messages::{Method, RunId};
use maskline_storage::records::{Evaluation, Run, RunState};
use serde::Serialize;

/// A training run. `maskline train --wait --json` prints one as a line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunView {
    pub(crate) id: RunId,
    pub(crate) network: Method,
    pub(crate) state: RunState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The number of epochs that are done.
    pub(crate) epoch: u32,
    /// The number of epochs that were asked for.
    pub(crate) epochs: u32,
    /// Accuracy on the validation split after the last complete epoch, 0 to 1.
    pub(crate) accuracy: Option<f32>,
    /// Loss on the validation split after the last complete epoch.
    pub(crate) loss: Option<f32>,
    /// How good the published network is on the test and the validation split, and for each
    /// source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evaluation: Option<Evaluation>,
    pub(crate) device: Option<String>,
}

impl RunView {
    /// Says whether nothing more will happen to the run by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.state != RunState::Open
    }
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        let epochs = run.epochs();
        Self {
            id: run.id,
            network: run.network,
            state: run.state,
            error: run.error,
            epoch: run.epoch,
            epochs,
            accuracy: run.accuracy,
            loss: run.loss,
            evaluation: run.evaluation,
            device: run.device,
        }
    }
}

/// Returns an error if one of the runs has failed.
pub(crate) fn succeeded(runs: &[RunView]) -> Result<()> {
    let failed = |run: &&RunView| run.state == RunState::Failed || run.error.is_some();
    if let Some(run) = runs.iter().find(failed) {
        let error = run.error.as_deref().unwrap_or("no reason is recorded");
        bail!("run {} of {} failed: {error}", run.id, run.network);
    }
    Ok(())
}
