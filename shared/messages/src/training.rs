//! The messages about training.

use serde::{Deserialize, Serialize};

use crate::{
    choices::TrainingChoices,
    ids::{DatasetId, JobId, RunId},
    method::Method,
};

/// The storer reports to the trainer that a dataset is frozen, and what to train on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetReady {
    /// The job that asked for the networks. `None` if a person asked when the collection was
    /// frozen by hand.
    pub job: Option<JobId>,
    pub dataset: DatasetId,
    /// One run is made for each of these: networks and the linear probe.
    pub networks: Vec<Method>,
    pub settings: TrainingChoices,
}

/// `maskline train` asks the trainer for more runs on a dataset that exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRequested {
    pub dataset: DatasetId,
    /// One run is made for each of these: networks and the linear probe.
    pub networks: Vec<Method>,
    pub settings: TrainingChoices,
}

/// The trainer reports to the storer that a model is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelTrained {
    pub dataset: DatasetId,
    /// The run's id, which is the model's id too.
    pub run: RunId,
    pub network: Method,
    /// The network's accuracy on the validation split, 0 to 1.
    pub accuracy: f32,
    /// The network's mean cross-entropy on the validation split, in nats.
    pub loss: f32,
}
