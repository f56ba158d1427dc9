//! How far the probabilities of predictions can be believed.
//!
//! The measure is the expected calibration error, and the remedy is one temperature by which
//! all logits are divided: Guo et al., "On Calibration of Modern Neural Networks" (2017).

use serde::{Deserialize, Serialize};

use crate::prediction::Prediction;

/// The number of bins of equal width that the confidences are put into.
const BINS: usize = 15;

/// The temperatures that are tried. Predictions that are all right would be best with one of
/// zero, which no finite number of images can justify.
const LEAST_TEMPERATURE: f64 = 0.1;
const GREATEST_TEMPERATURE: f64 = 10.0;

/// How far the probabilities of some predictions can be believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The expected calibration error, 0 to 1: how far the confidence is from the accuracy, as
    /// the mean over all images.
    pub error: f64,
    /// The bins that have images, from the least confidence to the greatest.
    pub bins: Vec<Bin>,
    /// The number by which all logits are to be divided for the least cross-entropy. Below 1
    /// the predictions are too timid, above 1 too sure.
    pub temperature: f64,
    /// The expected calibration error with this temperature, on the same images.
    pub error_with_temperature: f64,
}

/// The predictions whose confidence is within a range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    pub images: u64,
    /// The mean probability of the predicted class, 0 to 1.
    pub confidence: f64,
    /// The share of the images whose class was predicted, 0 to 1.
    pub accuracy: f64,
}

impl Calibration {
    /// The calibration of predictions, each with the true class. Without predictions there is
    /// nothing to say.
    pub fn of(predictions: &[(&Prediction, usize)]) -> Option<Self> {
        if predictions.is_empty() {
            return None;
        }
        let temperature = temperature(predictions);
        let bins = bins(predictions, 1.0);
        Some(Self {
            error: error(&bins),
            bins,
            temperature,
            error_with_temperature: error(&self::bins(predictions, temperature)),
        })
    }
}

/// The mean distance of confidence and accuracy, each bin weighted by its images.
fn error(bins: &[Bin]) -> f64 {
    let images: u64 = bins.iter().map(|bin| bin.images).sum();
    let distance = |bin: &Bin| bin.images as f64 * (bin.confidence - bin.accuracy).abs();
    bins.iter().map(distance).sum::<f64>() / images.max(1) as f64
}

fn bins(predictions: &[(&Prediction, usize)], temperature: f64) -> Vec<Bin> {
    let mut sums = [(0_u64, 0.0, 0_u64); BINS];
    for (prediction, class) in predictions {
        let confidence = prediction.tempered(temperature).confidence();
        let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
        let (images, confidences, right) = &mut sums[bin];
        *images += 1;
        *confidences += confidence;
        *right += u64::from(prediction.class() == *class);
    }
    let bins = sums.into_iter().filter(|(images, ..)| *images > 0);
    bins.map(|(images, confidences, right)| Bin {
        images,
        confidence: confidences / images as f64,
        accuracy: right as f64 / images as f64,
    })
    .collect()
}

/// The temperature with the least mean cross-entropy. That is a convex function of the inverse
/// of the temperature, so that halving the range by the sign of its slope finds the minimum.
fn temperature(predictions: &[(&Prediction, usize)]) -> f64 {
    let slope = |inverse: f64| -> f64 {
        let slopes = predictions.iter().map(|(prediction, class)| {
            let tempered = prediction.tempered(1.0 / inverse);
            let logits = prediction.log_probabilities().iter().enumerate();
            let mean: f64 = logits
                .filter(|(class, _)| tempered.probability(*class) > 0.0)
                .map(|(class, logit)| tempered.probability(class) * logit)
                .sum();
            mean - prediction.log_probabilities()[*class]
        });
        slopes.sum()
    };
    let (mut low, mut high) = (1.0 / GREATEST_TEMPERATURE, 1.0 / LEAST_TEMPERATURE);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if slope(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    2.0 / (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `images` predictions with the logits (`logit`, 0), of which `right` are right.
    fn predictions(logit: f32, images: usize, right: usize) -> Vec<(Prediction, usize)> {
        let classes = (0..images).map(|image| usize::from(image >= right));
        classes
            .map(|class| (Prediction::of(&[logit, 0.0]), class))
            .collect()
    }

    fn calibration(predictions: &[(Prediction, usize)]) -> Calibration {
        let borrowed: Vec<_> = predictions.iter().map(|(p, class)| (p, *class)).collect();
        Calibration::of(&borrowed).unwrap()
    }

    /// The logit of a probability.
    fn logit(probability: f64) -> f64 {
        (probability / (1.0 - probability)).ln()
    }

    #[test]
    fn probabilities_that_come_true_have_no_error() {
        let calibration = calibration(&predictions(logit(0.75) as f32, 400, 300));
        assert!(calibration.error < 1e-6, "{calibration:?}");
        assert!((calibration.temperature - 1.0).abs() < 1e-4);
    }

    #[test]
    fn the_error_is_the_mean_distance_of_confidence_and_accuracy() {
        let mut all = predictions(logit(0.9) as f32, 100, 60);
        all.extend(predictions(logit(0.7) as f32, 300, 240));
        let calibration = calibration(&all);
        // A quarter of the images is 0.3 too sure, and the others 0.1 too timid.
        assert!((calibration.error - (0.25 * 0.3 + 0.75 * 0.1)).abs() < 1e-6);
        assert_eq!(calibration.bins.len(), 2);
        assert_eq!(calibration.bins[0].images, 300);
        assert!((calibration.bins[1].accuracy - 0.6).abs() < 1e-9);
    }

    #[test]
    fn the_temperature_makes_the_confidence_the_accuracy() {
        let calibration = calibration(&predictions(logit(0.99) as f32, 1000, 800));
        assert!((calibration.temperature - logit(0.99) / logit(0.8)).abs() < 1e-3);
        assert!(calibration.error_with_temperature < 1e-4);
    }

    #[test]
    fn predictions_that_are_all_right_or_certain_have_a_temperature_too() {
        let timid = calibration(&predictions(1.0, 50, 50));
        assert!((timid.temperature - LEAST_TEMPERATURE).abs() < 1e-6);
        let certain = calibration(&predictions(5000.0, 50, 25));
        assert!((certain.temperature - GREATEST_TEMPERATURE).abs() < 1e-6);
        assert!(Calibration::of(&[]).is_none());
    }
}
