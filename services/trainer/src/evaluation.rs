//! How good a network is.

use std::thread;

use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use maskline_models::Network;
use serde::{Deserialize, Serialize};

use crate::{
    batches::{self, Batch, Preparation},
    course::Halt,
    examples::{ExampleSet, Examples},
};

/// What a network says about one image whose class is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The class that it has.
    pub class: usize,
    /// The class that the network says.
    pub predicted: usize,
    /// Softmax probability of `predicted`, 0 to 1.
    pub confidence: f64,
    /// Cross-entropy, in nats: −log of the probability of `class`.
    pub loss: f64,
}

impl Prediction {
    /// From one image's `logits`, one a class.
    pub fn of(logits: &[f32], class: usize) -> Self {
        let greatest = |best: usize, index: usize| {
            if logits[index] > logits[best] {
                index
            } else {
                best
            }
        };
        let predicted = (0..logits.len()).fold(0, greatest);
        let most = f64::from(logits[predicted]);
        // The greatest is taken off first, so that nothing overflows.
        let sum: f64 = logits
            .iter()
            .map(|&logit| (f64::from(logit) - most).exp())
            .sum();
        let log_probability = |class: usize| f64::from(logits[class]) - most - sum.ln();
        Self {
            class,
            predicted,
            confidence: log_probability(predicted).exp(),
            loss: -log_probability(class),
        }
    }

    pub fn is_right(&self) -> bool {
        self.class == self.predicted
    }
}

/// The predictions for a batch of images. `logits` is `[images, classes]`.
pub fn predictions(logits: Tensor<2>, classes: &[usize]) -> Result<Vec<Prediction>> {
    let [images, width] = logits.dims();
    ensure!(images == classes.len(), "a prediction for each image");
    let logits: Vec<f32> = logits.try_into_vec_as()?;
    let each = logits.chunks_exact(width).zip(classes);
    Ok(each
        .map(|(logits, &class)| Prediction::of(logits, class))
        .collect())
}

/// What predictions come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The share of the images that is classified right, 0 to 1.
    pub accuracy: f32,
    /// Mean cross-entropy, in nats.
    pub loss: f32,
}

impl Score {
    /// Whether this is the better epoch: by accuracy, then by loss.
    pub fn is_better_than(&self, other: &Self) -> bool {
        self.accuracy > other.accuracy
            || (self.accuracy == other.accuracy && self.loss < other.loss)
    }
}

/// Predictions added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub images: u64,
    pub right: u64,
    /// The sum of the losses, in nats.
    pub loss: f64,
}

impl Tally {
    pub fn add(&mut self, predictions: &[Prediction]) {
        self.images += predictions.len() as u64;
        self.right += predictions.iter().filter(|p| p.is_right()).count() as u64;
        self.loss += predictions.iter().map(|p| p.loss).sum::<f64>();
    }

    /// The means. No images at all score nothing.
    pub fn score(&self) -> Score {
        let images = self.images.max(1) as f64;
        Score {
            accuracy: (self.right as f64 / images) as f32,
            loss: (self.loss / images) as f32,
        }
    }
}

impl<'a> FromIterator<&'a [Prediction]> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a [Prediction]>>(predictions: I) -> Self {
        let mut tally = Self::default();
        predictions.into_iter().for_each(|some| tally.add(some));
        tally
    }
}

/// How many images of each class (row) are said to be of each (column).
pub fn confusion(predictions: &[Prediction], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    for prediction in predictions {
        counts[prediction.class][prediction.predicted] += 1;
    }
    counts
}

/// What the network, which does not learn here, says about every image of
/// `split`, in its order. `None`: cut short by `halt`.
pub fn evaluate(
    network: &Network,
    examples: &Examples,
    split: &ExampleSet,
    side: u32,
    batch: usize,
    device: &Device,
    halt: &Halt,
) -> Result<Option<Vec<Prediction>>> {
    let indices: Vec<usize> = (0..split.len()).collect();
    let plan = indices.chunks(batch).map(<[usize]>::to_vec).collect();
    thread::scope(|scope| {
        let threads = &examples.threads;
        let prepared = batches::prepare(scope, threads, split, plan, side, Preparation::Plain);
        let mut all = Vec::with_capacity(split.len());
        for batch in prepared {
            if halt.is_asked() {
                return Ok(None);
            }
            let Batch { planes, classes } = batch?;
            let logits = network.forward(images(planes, side, device));
            all.extend(predictions(logits, &classes)?);
        }
        Ok(Some(all))
    })
}

/// A batch's planes as a tensor on `device`, `[images, 3, side, side]`.
pub fn images(planes: Vec<f32>, side: u32, device: &Device) -> Tensor<4> {
    let side = side as usize;
    let images = planes.len() / (3 * side * side);
    Tensor::from_data(TensorData::new(planes, [images, 3, side, side]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-6
    }

    #[test]
    fn a_prediction_is_the_softmax_of_its_logits() {
        let sure = Prediction::of(&[3.0_f32.ln(), 0.0], 0);
        assert!(sure.is_right());
        assert!(near(sure.confidence, 0.75) && near(sure.loss, -0.75_f64.ln()));
        let wrong = Prediction::of(&[3.0_f32.ln(), 0.0], 1);
        assert_eq!((wrong.class, wrong.predicted), (1, 0));
        assert!(near(wrong.confidence, 0.75) && near(wrong.loss, -0.25_f64.ln()));
    }

    #[test]
    fn logits_beyond_what_an_exponential_can_hold_have_a_loss_all_the_same() {
        let prediction = Prediction::of(&[1000.0, -1000.0], 1);
        assert!(near(prediction.loss, 2000.0) && near(prediction.confidence, 1.0));
        assert!(Prediction::of(&[f32::NAN, 0.0], 0).loss.is_nan());
    }

    #[test]
    fn accuracy_loss_and_confusion_are_of_all_images() {
        let logits = [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]];
        let classes = [0, 1, 1, 1];
        let each = logits.iter().zip(classes);
        let predictions: Vec<_> = each
            .map(|(logits, class)| Prediction::of(logits, class))
            .collect();
        assert_eq!(confusion(&predictions, 2), [[1, 0], [1, 2]]);
        let score = Tally::from_iter(predictions.chunks(3)).score();
        assert_eq!(score.accuracy, 0.75);
        let loss = predictions.iter().map(|p| p.loss).sum::<f64>() / 4.0;
        assert!(near(score.loss.into(), loss));
    }

    #[test]
    fn the_better_epoch_is_the_more_accurate_then_the_surer() {
        let score = |accuracy, loss| Score { accuracy, loss };
        assert!(score(0.9, 2.0).is_better_than(&score(0.8, 0.1)));
        assert!(score(0.9, 0.1).is_better_than(&score(0.9, 0.2)));
        assert!(!score(0.9, 0.2).is_better_than(&score(0.9, 0.2)));
        assert!(!score(0.8, 0.1).is_better_than(&score(0.9, 0.2)));
    }
}
