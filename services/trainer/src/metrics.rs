//! What is recorded about a run while it is trained.

use maskline_models::prediction::{Score, Tally};
use serde::{Deserialize, Serialize};

/// How far a run is. A checkpoint holds it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainingProgress {
    /// The epochs that were trained and evaluated.
    pub(crate) epochs: Vec<Epoch>,
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
}

impl TrainingProgress {
    /// The best epoch so far by its validation score; the earliest of equals.
    pub(crate) fn best(&self) -> Option<&Epoch> {
        self.best_of_first(self.epochs.len())
    }

    /// The best of so many epochs from the beginning on.
    pub(crate) fn best_of_first(&self, epochs: usize) -> Option<&Epoch> {
        self.epochs.iter().take(epochs).reduce(|best, epoch| {
            if epoch.validation.is_better_than(&best.validation) {
                epoch
            } else {
                best
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_the_first_epochs_does_not_know_the_later_ones() {
        let epoch = |epoch, accuracy| {
            let score = Score {
                accuracy,
                loss: 0.5,
            };
            Epoch {
                epoch,
                learning_rate: 1e-3,
                training: score,
                validation: score,
                images_per_second: 1.0,
                device: "cpu".to_owned(),
            }
        };
        let progress = TrainingProgress {
            epochs: vec![epoch(1, 0.5), epoch(2, 0.75), epoch(3, 0.75), epoch(4, 1.0)],
            ..TrainingProgress::default()
        };
        let best = |epochs| progress.best_of_first(epochs).map(|best| best.epoch);
        let expected = [None, Some(1), Some(2), Some(2), Some(4), Some(4)];
        assert_eq!([0, 1, 2, 3, 4, 9].map(best), expected);
        assert_eq!(progress.best().map(|best| best.epoch), Some(4));
    }
}
