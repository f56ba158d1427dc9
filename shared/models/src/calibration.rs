//! How far the probabilities of predictions can be believed.
//!
//! The measure is the expected calibration error of Guo et al., "On Calibration of Modern Neural
//! Networks" (2017).

use serde::Serialize;

use crate::prediction::Prediction;

/// The number of bins of equal width that the confidences are put into.
const BINS: usize = 15;

/// Adds up predictions for a [`Calibration`].
#[derive(Debug, Clone, Default)]
pub struct Confidences([Sums; BINS]);

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    images: u64,
    confidence: f64,
    right: u64,
}

/// How far the probabilities of some predictions can be believed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// The expected calibration error, 0 to 1: how far the confidence is from the accuracy, as
    /// the mean over all images.
    pub error: f64,
    /// The bins that have images, from the least confidence to the greatest.
    pub bins: Vec<Bin>,
}

/// The predictions whose confidence is within a range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    pub images: u64,
    /// The mean probability of the predicted class, 0 to 1.
    pub confidence: f64,
    /// The share of the images whose class was predicted, 0 to 1.
    pub accuracy: f64,
}

impl Confidences {
    /// Adds the prediction for an image of `class`.
    pub fn add(&mut self, prediction: &Prediction, class: usize) {
        let confidence = prediction.confidence();
        let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
        let sums = &mut self.0[bin];
        sums.images += 1;
        sums.confidence += confidence;
        sums.right += u64::from(prediction.class() == class);
    }

    /// What they come to. Without predictions the error is 0, and there are no bins.
    pub fn calibration(&self) -> Calibration {
        let bins = self.0.iter().filter(|sums| sums.images > 0);
        let bins = bins.map(|sums| Bin {
            images: sums.images,
            confidence: sums.confidence / sums.images as f64,
            accuracy: sums.right as f64 / sums.images as f64,
        });
        let bins: Vec<Bin> = bins.collect();
        Calibration {
            error: error(&bins),
            bins,
        }
    }
}

/// The mean distance of confidence and accuracy, each bin weighted by its images.
fn error(bins: &[Bin]) -> f64 {
    let images: u64 = bins.iter().map(|bin| bin.images).sum();
    let distance = |bin: &Bin| bin.images as f64 * (bin.confidence - bin.accuracy).abs();
    bins.iter().map(distance).sum::<f64>() / images.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `images` predictions of this confidence, of which `right` are right.
    fn add(confidences: &mut Confidences, confidence: f64, images: usize, right: usize) {
        let logit = (confidence / (1.0 - confidence)).ln();
        let prediction = Prediction::of(&[logit as f32, 0.0]);
        for image in 0..images {
            confidences.add(&prediction, usize::from(image >= right));
        }
    }

    #[test]
    fn probabilities_that_come_true_have_no_error() {
        let mut confidences = Confidences::default();
        assert_eq!(confidences.calibration().error, 0.0);
        add(&mut confidences, 0.75, 400, 300);
        let calibration = confidences.calibration();
        assert!(calibration.error < 1e-6, "{calibration:?}");
    }

    #[test]
    fn the_error_is_the_mean_distance_of_confidence_and_accuracy() {
        let mut confidences = Confidences::default();
        add(&mut confidences, 0.9, 100, 60);
        add(&mut confidences, 0.7, 300, 240);
        let calibration = confidences.calibration();
        // A quarter of the images is 0.3 too sure, and the others 0.1 too timid.
        assert!((calibration.error - (0.25 * 0.3 + 0.75 * 0.1)).abs() < 1e-6);
        assert_eq!(calibration.bins.len(), 2);
        assert_eq!(calibration.bins[0].images, 300);
        assert!((calibration.bins[1].accuracy - 0.6).abs() < 1e-9);
    }

    #[test]
    fn a_certain_prediction_is_in_the_last_bin() {
        let mut confidences = Confidences::default();
        confidences.add(&Prediction::of(&[5000.0, 0.0]), 0);
        let calibration = confidences.calibration();
        assert_eq!((calibration.error, calibration.bins.len()), (0.0, 1));
        assert_eq!(calibration.bins[0].confidence, 1.0);
    }
}
