//! The predictions of a network, how good they are, and the loss that it learns by.
//!
//! There is one definition of the loss of a prediction, for training, evaluation and
//! `maskline evaluate`: the cross-entropy −ln p of the true class, in nats. It is computed
//! from the logits in double precision and no probability is clamped: the loss of finite
//! logits is finite, however wrong they are.

use burn::{
    nn::loss::CrossEntropyLossConfig,
    tensor::{Int, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

use crate::{device, error::ModelError};

/// The prediction of a network for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    class: usize,
    log_probabilities: Vec<f64>,
}

impl Prediction {
    /// The softmax of one image's `logits`, one for each class.
    ///
    /// # Panics
    /// If there is no class.
    pub fn of(logits: &[f32]) -> Self {
        let greatest = |best: usize, index: usize| {
            if logits[index] > logits[best] {
                index
            } else {
                best
            }
        };
        let class = (0..logits.len()).fold(0, greatest);
        // The largest logit is subtracted first, so that no exponential overflows.
        let largest = f64::from(logits[class]);
        let sum: f64 = logits
            .iter()
            .map(|&logit| (f64::from(logit) - largest).exp())
            .sum();
        let log_sum = sum.ln();
        Self {
            class,
            log_probabilities: logits
                .iter()
                .map(|&logit| f64::from(logit) - largest - log_sum)
                .collect(),
        }
    }

    /// The predictions for a batch, from logits `[images, classes]`.
    ///
    /// # Errors
    /// If the device cannot compute or return the logits, see [`device::read`].
    pub fn of_batch(logits: Tensor<2>) -> Result<Vec<Self>, ModelError> {
        let [_, classes] = logits.dims();
        let logits = device::read(logits)?;
        Ok(logits.chunks_exact(classes).map(Self::of).collect())
    }

    /// Whether all probabilities are numbers. They are not where logits overflow.
    pub fn is_finite(&self) -> bool {
        self.log_probabilities.iter().all(|value| !value.is_nan())
    }

    /// The index of the most probable class. If several are equally probable, it is the first.
    pub fn class(&self) -> usize {
        self.class
    }

    /// The probability of the most probable class, 0 to 1.
    pub fn confidence(&self) -> f64 {
        self.probability(self.class)
    }

    /// The probability of `class`, 0 to 1.
    pub fn probability(&self, class: usize) -> f64 {
        self.log_probabilities[class].exp()
    }

    /// The logarithm of the probability of each class. Logits differ from it by a constant.
    pub fn log_probabilities(&self) -> &[f64] {
        &self.log_probabilities
    }

    /// The prediction with all logits divided by `temperature`: above 1 it is less sure, below
    /// 1 surer. The most probable class stays the same.
    pub fn tempered(&self, temperature: f64) -> Self {
        let divided = self
            .log_probabilities
            .iter()
            .map(|value| value / temperature);
        let divided: Vec<f64> = divided.collect();
        // The largest logarithm is that of the predicted class.
        let largest = divided[self.class];
        let sum: f64 = divided.iter().map(|value| (value - largest).exp()).sum();
        let log_sum = largest + sum.ln();
        Self {
            class: self.class,
            log_probabilities: divided.iter().map(|value| value - log_sum).collect(),
        }
    }

    /// The cross-entropy for an image of `class`, in nats.
    pub fn loss(&self, class: usize) -> f64 {
        -self.log_probabilities[class]
    }
}

/// The loss that training minimizes: the mean cross-entropy of logits
/// `[images, classes]` and the true classes, with smoothed targets after Szegedy et al.,
/// "Rethinking the Inception Architecture" (2015). Without smoothing it is the mean of
/// [`Prediction::loss`].
///
/// # Panics
/// If there is not one class for each image, or if `smoothing` is not within 0 and 1.
pub fn training_loss(logits: Tensor<2>, classes: &[usize], smoothing: f32) -> Tensor<1> {
    let device = logits.device();
    let indices: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
    let targets = TensorData::new(indices, [classes.len()]);
    CrossEntropyLossConfig::new()
        .with_smoothing(Some(smoothing))
        .init(&device)
        .forward(logits, Tensor::<1, Int>::from_data(targets, &device))
}

/// How good the predictions for some images are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The share of the images whose class is predicted, 0 to 1.
    pub accuracy: f32,
    /// The mean cross-entropy, in nats.
    pub loss: f32,
}

/// Adds up predictions for a [`Score`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub images: u64,
    /// The images whose class was predicted.
    pub right: u64,
    /// The sum of the losses, in nats.
    pub loss: f64,
}

impl Tally {
    /// Adds the prediction for an image of `class`.
    pub fn add(&mut self, prediction: &Prediction, class: usize) {
        self.images += 1;
        self.right += u64::from(prediction.class == class);
        self.loss += prediction.loss(class);
    }

    /// The share of the images whose class was predicted. It is 0 without images.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.images.max(1) as f64
    }

    /// The mean loss in nats. It is 0 without images.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.images.max(1) as f64
    }

    /// The range in which the accuracy on many more images of the same kind lies with a
    /// probability of 95 %, 0 to 1: Wilson's score interval (1927). It takes the images for
    /// independent of each other. Without images it is everything.
    pub fn interval(&self) -> (f64, f64) {
        interval(self.right, self.images)
    }

    pub fn score(&self) -> Score {
        Score {
            accuracy: self.accuracy() as f32,
            loss: self.mean_loss() as f32,
        }
    }
}

/// Wilson's score interval for `right` of `images`, see [`Tally::interval`].
pub fn interval(right: u64, images: u64) -> (f64, f64) {
    /// The normal distribution has 95 % of its values within so many standard deviations.
    const Z: f64 = 1.959_963_984_540_054;
    if images == 0 {
        return (0.0, 1.0);
    }
    let count = images as f64;
    let share = right as f64 / count;
    let scale = 1.0 + Z * Z / count;
    let centre = (share + Z * Z / (2.0 * count)) / scale;
    let variance = share * (1.0 - share) / count + Z * Z / (4.0 * count * count);
    let half = Z * variance.sqrt() / scale;
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// How many images of each class (row) were predicted to be of each class (column).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Confusion(Vec<Vec<u64>>);

impl Confusion {
    pub fn new(classes: usize) -> Self {
        Self(vec![vec![0; classes]; classes])
    }

    /// Adds the prediction for an image of `class`.
    pub fn add(&mut self, prediction: &Prediction, class: usize) {
        self.0[class][prediction.class] += 1;
    }

    /// A row for each true class, with a count for each predicted class.
    pub fn rows(&self) -> &[Vec<u64>] {
        &self.0
    }

    /// The share of the images predicted to be of `class` that are of it. `None` if none was
    /// predicted to be.
    pub fn precision(&self, class: usize) -> Option<f64> {
        self.share_of(class, self.0.iter().map(|row| row[class]).sum())
    }

    /// The share of the images of `class` that were predicted to be of it. `None` if there is
    /// none.
    pub fn recall(&self, class: usize) -> Option<f64> {
        self.share_of(class, self.0[class].iter().sum())
    }

    fn share_of(&self, class: usize, whole: u64) -> Option<f64> {
        (whole > 0).then(|| self.0[class][class] as f64 / whole as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-6
    }

    #[test]
    fn a_prediction_is_the_softmax_of_its_logits() {
        let prediction = Prediction::of(&[3.0_f32.ln(), 0.0]);
        assert_eq!(prediction.class(), 0);
        assert!(near(prediction.confidence(), 0.75) && near(prediction.probability(1), 0.25));
        assert!(near(prediction.loss(0), -0.75_f64.ln()));
        assert!(near(prediction.loss(1), -0.25_f64.ln()));
    }

    #[test]
    fn logits_whose_exponentials_overflow_have_a_finite_loss() {
        let prediction = Prediction::of(&[1000.0, -1000.0]);
        assert!(near(prediction.loss(1), 2000.0) && near(prediction.confidence(), 1.0));
        assert!(Prediction::of(&[f32::NAN, 0.0]).loss(0).is_nan());
    }

    #[test]
    fn accuracy_loss_and_confusion_are_of_all_images() {
        let logits = [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]];
        let classes = [0, 1, 1, 1];
        let (mut tally, mut confusion) = (Tally::default(), Confusion::new(2));
        let mut losses = 0.0;
        for (logits, class) in logits.iter().zip(classes) {
            let prediction = Prediction::of(logits);
            tally.add(&prediction, class);
            confusion.add(&prediction, class);
            losses += prediction.loss(class);
        }
        assert_eq!(confusion.rows(), [[1, 0], [1, 2]]);
        assert_eq!(tally.score().accuracy, 0.75);
        assert!(near(tally.score().loss.into(), losses / 4.0));
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001), have
        // the formula; these values are those of statsmodels.
        for (right, images, low, high) in [
            (90, 100, 0.825_634, 0.944_770),
            (0, 10, 0.0, 0.277_540),
            (10, 10, 0.722_460, 1.0),
        ] {
            let (found_low, found_high) = interval(right, images);
            assert!((found_low - low).abs() < 1e-5, "{found_low}");
            assert!((found_high - high).abs() < 1e-5, "{found_high}");
        }
        assert_eq!(Tally::default().interval(), (0.0, 1.0));
    }

    #[test]
    fn a_temperature_changes_how_sure_a_prediction_is_and_not_its_class() {
        let prediction = Prediction::of(&[4.0_f32.ln(), 0.0]);
        let surer = prediction.tempered(0.5);
        assert!(near(surer.probability(0), 16.0 / 17.0) && surer.class() == 0);
        assert!(near(prediction.tempered(2.0).probability(0), 2.0 / 3.0));
        assert!(near(
            Prediction::of(&[0.0, 9000.0]).tempered(0.1).loss(0),
            90_000.0
        ));
    }

    #[test]
    fn precision_is_by_column_and_recall_by_row() {
        let confusion = Confusion(vec![vec![3, 1, 0], vec![0, 4, 0], vec![0, 0, 0]]);
        let shares = |class| (confusion.precision(class), confusion.recall(class));
        assert_eq!(shares(0), (Some(1.0), Some(0.75)));
        assert_eq!(shares(1), (Some(0.8), Some(1.0)));
        assert_eq!(shares(2), (None, None));
    }
}
