//! The temperature of a network: one number by which all of its logits are divided, so that its
//! probabilities come true as often as they say. Guo et al., "On Calibration of Modern Neural
//! Networks" (2017).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::prediction::Prediction;

/// The temperatures that are tried.
const LEAST: f64 = 0.1;
const GREATEST: f64 = 10.0;

/// How often the range of temperatures is halved. The width that is left is below the precision of
/// `f64`.
const HALVINGS: usize = 60;

/// The number by which logits are divided. Above 1 it makes predictions less sure, below 1 surer.
/// The predicted class stays the same.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Temperature(f64);

/// A number that no logits can be divided by.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("{0} is no temperature: it must be a finite number above 0")]
pub struct InvalidTemperature(f64);

impl Temperature {
    /// Logits that are divided by it stay as they are.
    pub const ONE: Self = Self(1.0);

    /// The temperature with the least mean cross-entropy for some predictions, each with its true
    /// class. It is 1 if there are none.
    ///
    /// As in Platt, "Probabilistic Outputs for Support Vector Machines" (1999), the target of the
    /// true class is not 1, but what `n` images can justify: `(n + 1) / (n + classes)`. Otherwise
    /// predictions that are all right would be best with a temperature of 0, and a network would be
    /// certain because twenty images were easy.
    ///
    /// The cross-entropy is a convex function of the inverse of the temperature, so that halving the
    /// range by the sign of its slope finds the minimum.
    pub fn fitted<'a>(predictions: impl IntoIterator<Item = (&'a Prediction, usize)>) -> Self {
        let predictions: Vec<_> = predictions.into_iter().collect();
        if predictions.is_empty() {
            return Self::ONE;
        }
        let images = predictions.len() as f64;
        let slope = |inverse: f64| -> f64 {
            let of_each = predictions.iter();
            of_each
                .map(|(prediction, class)| slope(prediction, *class, images, inverse))
                .sum()
        };
        let (mut low, mut high) = (1.0 / GREATEST, 1.0 / LEAST);
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if slope(middle) < 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        Self(2.0 / (low + high))
    }

    pub fn get(self) -> f64 {
        self.0
    }

    /// The prediction with all logits divided by this temperature.
    pub fn applied(self, prediction: &Prediction) -> Prediction {
        prediction.tempered(self.0)
    }
}

/// The derivative of the cross-entropy of a prediction by the inverse of the temperature: the mean
/// logit by the predicted probabilities, less that by the targets.
fn slope(prediction: &Prediction, class: usize, images: f64, inverse: f64) -> f64 {
    let tempered = prediction.tempered(1.0 / inverse);
    let logits = prediction.log_probabilities();
    let total = images + logits.len() as f64;
    let targets = |of: usize| match of == class {
        true => (images + 1.0) / total,
        false => 1.0 / total,
    };
    let mean = |weight: &dyn Fn(usize) -> f64| -> f64 {
        let logits = logits.iter().enumerate();
        logits.map(|(of, logit)| weight(of) * logit).sum()
    };
    mean(&|of| tempered.probability(of)) - mean(&targets)
}

impl Default for Temperature {
    fn default() -> Self {
        Self::ONE
    }
}

impl TryFrom<f64> for Temperature {
    type Error = InvalidTemperature;

    fn try_from(value: f64) -> Result<Self, InvalidTemperature> {
        match value.is_finite() && value > 0.0 {
            true => Ok(Self(value)),
            false => Err(InvalidTemperature(value)),
        }
    }
}

impl From<Temperature> for f64 {
    fn from(temperature: Temperature) -> Self {
        temperature.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The temperature for `images` predictions with the logits (`logit`, 0), of which `right` are
    /// right.
    fn fitted(logit: f64, images: usize, right: usize) -> f64 {
        let prediction = Prediction::of(&[logit as f32, 0.0]);
        let classes = (0..images).map(|image| usize::from(image >= right));
        Temperature::fitted(classes.map(|class| (&prediction, class))).get()
    }

    /// The logit of a probability.
    fn logit(probability: f64) -> f64 {
        (probability / (1.0 - probability)).ln()
    }

    /// The share of right predictions, with one image more of each class.
    fn smoothed(images: usize, right: usize) -> f64 {
        let (images, right) = (images as f64, right as f64);
        (right * (images + 1.0) + (images - right)) / (images * (images + 2.0))
    }

    #[test]
    fn it_makes_the_confidence_the_accuracy() {
        for (confidence, images, right) in
            [(0.99, 1000, 800), (0.6, 400, 360), (0.75, 10_000, 7_500)]
        {
            let expected = logit(confidence) / logit(smoothed(images, right));
            let found = fitted(logit(confidence), images, right);
            assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
        }
        assert!((fitted(logit(0.75), 10_000, 7_500) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn three_classes_are_fitted_by_all_of_their_logits() {
        // The classes come true as often as the softmax of half of the logits says.
        let logits = [4.0_f32, 2.0, 1.0].map(|odds| 2.0 * odds.ln());
        let halved = Prediction::of(&logits.map(|x| x / 2.0));
        let prediction = Prediction::of(&logits);
        let counts = (0..3).map(|class| (halved.probability(class) * 7_000.0).round() as usize);
        let classes = counts.enumerate();
        let classes = classes.flat_map(|(class, count)| vec![class; count]);
        let found = Temperature::fitted(classes.map(|class| (&prediction, class)));
        assert!((found.get() - 2.0).abs() < 1e-2, "{found:?}");
    }

    #[test]
    fn few_images_that_are_all_right_do_not_make_a_network_certain() {
        for images in [1, 20, 200] {
            let temperature = fitted(3.0, images, images);
            let expected = (images as f64 + 1.0) / (images as f64 + 2.0);
            let tempered = Prediction::of(&[3.0, 0.0]).tempered(temperature);
            assert!((tempered.confidence() - expected).abs() < 1e-6, "{images}");
        }
    }

    #[test]
    fn it_is_within_bounds_and_1_where_nothing_is_known() {
        assert_eq!(Temperature::fitted([]), Temperature::ONE);
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
        assert!(close(fitted(5000.0, 50, 25), GREATEST));
        assert!(close(fitted(0.01, 5000, 5000), LEAST));
        // Predictions that say nothing are as good with any temperature.
        assert!(fitted(0.0, 10, 5).is_finite());
    }

    #[test]
    fn only_a_finite_number_above_0_is_one() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Temperature::try_from(bad).is_err(), "{bad}");
        }
        let read: Temperature = serde_json::from_str("2.5").unwrap();
        assert_eq!(
            (read.get(), serde_json::to_string(&read).unwrap()),
            (2.5, "2.5".into())
        );
        assert!(serde_json::from_str::<Temperature>("0").is_err());
    }
}
