//! What is recorded about a run while it is trained.

use maskline_models::prediction::{Score, Tally};
use serde::{Deserialize, Serialize};

use crate::parts::Parts;

/// How far a run is. A checkpoint holds it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainingProgress {
    /// The epochs that were trained and evaluated.
    pub(crate) epochs: Vec<Epoch>,
    /// The number of parts that batches are computed in.
    #[serde(default)]
    pub(crate) parts: Parts,
    /// The number of steps done in the current epoch.
    pub(crate) step: usize,
    /// The predictions for the training images in the current epoch so far.
    pub(crate) tally: Tally,
    /// The time that the steps of the current epoch took.
    pub(crate) training_seconds: f64,
    /// The time that the whole run took, evaluation and earlier attempts included.
    pub(crate) seconds: f64,
}

/// One epoch of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Epoch {
    /// The number of the epoch, counted from 1.
    pub(crate) epoch: usize,
    /// The learning rate of the last step.
    pub(crate) learning_rate: f64,
    /// The score on the augmented training images, each predicted just before the network
    /// learned from it.
    pub(crate) training: Score,
    /// The score on the validation images at the end of the epoch.
    pub(crate) validation: Score,
    /// The training images per second.
    pub(crate) images_per_second: f64,
    /// The device, as people call it.
    pub(crate) device: String,
    /// The number of parts that batches were computed in, if the device had no memory for whole ones.
    #[serde(default)]
    pub(crate) parts: Parts,
}

impl TrainingProgress {
    /// The best epoch so far by its validation score; the earliest of equals.
    pub(crate) fn best(&self) -> Option<&Epoch> {
        self.epochs.iter().reduce(|best, epoch| {
            if epoch.validation.is_better_than(&best.validation) {
                epoch
            } else {
                best
            }
        })
    }
}
