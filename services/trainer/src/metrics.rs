//! What is recorded about a run while it is trained.

use maskline_models::prediction::{Prediction, Score};
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
    pub(crate) tally: TrainingTally,
    /// The time that the steps of the current epoch took.
    pub(crate) training_seconds: f64,
    /// The time that the whole run took, evaluation and earlier attempts included.
    pub(crate) seconds: f64,
}

/// Adds up predictions for training images. An image that is mixed with another is of both classes,
/// by their shares of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainingTally {
    pub(crate) images: u64,
    /// The shares of the images whose class was predicted, added up.
    pub(crate) right: f64,
    /// The sum of the losses, in nats.
    pub(crate) loss: f64,
}

impl TrainingTally {
    /// Adds the prediction for an image of these classes, each with its share of the image.
    pub(crate) fn add(&mut self, prediction: &Prediction, shares: &[(usize, f64)]) {
        self.images += 1;
        for &(class, share) in shares {
            if prediction.class() == class {
                self.right += share;
            }
            self.loss += share * prediction.loss(class);
        }
    }

    pub(crate) fn score(&self) -> Score {
        let images = self.images.max(1) as f64;
        Score {
            accuracy: (self.right / images) as f32,
            loss: (self.loss / images) as f32,
        }
    }
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
    /// The score on the validation images after so many epochs. `None` if they are not complete.
    pub(crate) fn validation_after(&self, epochs: usize) -> Option<Score> {
        let last = epochs.checked_sub(1)?;
        self.epochs.get(last).map(|epoch| epoch.validation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_image_counts_for_both_classes_by_their_shares() {
        let mut tally = TrainingTally::default();
        let prediction = Prediction::of(&[3.0_f32.ln(), 0.0]);
        tally.add(&prediction, &[(0, 1.0)]);
        tally.add(&prediction, &[(1, 0.7), (0, 0.3)]);
        // An image that is mixed with one of its class is of that class.
        tally.add(&prediction, &[(0, 0.6), (0, 0.4)]);
        let Score { accuracy, loss } = tally.score();
        assert!((accuracy - 2.3 / 3.0).abs() < 1e-6, "{accuracy}");
        let (likely, unlikely) = (-(0.75_f64.ln()), -(0.25_f64.ln()));
        let expected = (2.3 * likely + 0.7 * unlikely) / 3.0;
        assert!((f64::from(loss) - expected).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn the_counts_of_a_checkpoint_of_an_earlier_build_are_read() {
        let earlier = r#"{"images":8,"right":6,"loss":2.5}"#;
        let tally: TrainingTally = serde_json::from_str(earlier).unwrap();
        assert_eq!((tally.images, tally.right), (8, 6.0));
        assert_eq!(TrainingTally::default().score().accuracy, 0.0);
    }

    #[test]
    fn the_score_after_some_epochs_does_not_know_the_later_ones() {
        let score = |accuracy| Score {
            accuracy,
            loss: 0.5,
        };
        let epoch = |(epoch, accuracy)| Epoch {
            epoch,
            learning_rate: 1e-3,
            training: score(0.1),
            validation: score(accuracy),
            images_per_second: 1.0,
            device: "cpu".to_owned(),
            parts: Parts::default(),
        };
        let progress = TrainingProgress {
            epochs: (1..).zip([0.5, 0.75, 0.7]).map(epoch).collect(),
            ..TrainingProgress::default()
        };
        let expected = [None, Some(0.5), Some(0.75), Some(0.7), None];
        let after = |epochs| Some(progress.validation_after(epochs)?.accuracy);
        assert_eq!([0, 1, 2, 3, 4].map(after), expected);
    }
}
