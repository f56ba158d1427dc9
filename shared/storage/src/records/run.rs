//! A training run: a network on a dataset.

use maskline_messages::{DatasetId, JobId, Method, RunId, TrainingSettings};
use serde::{Deserialize, Serialize};
use strum::Display;

use super::evaluation::Evaluation;

/// A training run: a network on a dataset. One trainer at a time works on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub dataset: DatasetId,
    /// The job whose dataset was ready. `None` if a person asked for the run.
    pub job: Option<JobId>,
    /// What is trained.
    pub network: Method,
    pub settings: TrainingSettings,
    pub state: RunState,
    pub error: Option<String>,
    /// The number of epochs that are done.
    pub epoch: u32,
    /// The accuracy on the validation split after the last complete epoch.
    pub accuracy: Option<f32>,
    /// The loss on the validation split after the last complete epoch.
    pub loss: Option<f32>,
    /// How good the network is that the run has published. `None` before that, and for the runs
    /// of earlier builds.
    #[serde(default)]
    pub evaluation: Option<Evaluation>,
    /// The device that it is trained on, such as `cpu (flex, 2 threads)`.
    pub device: Option<String>,
    /// The W3C traceparent of the trace in which it was asked for.
    pub traceparent: Option<String>,
    pub created: u64,
}

impl Run {
    /// The number of epochs that the run has. A linear probe is done after one look at the images.
    pub fn epochs(&self) -> u32 {
        match self.network {
            Method::LinearProbe => 1,
            Method::Network(_) => self.settings.epochs,
        }
    }

    /// The run as it was before anybody began it.
    pub(crate) fn reopened(&self) -> Self {
        Self {
            state: RunState::Open,
            error: None,
            epoch: 0,
            accuracy: None,
            loss: None,
            evaluation: None,
            device: None,
            ..self.clone()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RunState {
    /// The run waits for a trainer, or a trainer holds its lease.
    Open,
    Done,
    Failed,
}
