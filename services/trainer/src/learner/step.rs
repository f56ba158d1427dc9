//! One step of a network in training.

use anyhow::Result;
use burn::{
    optim::{GradientsAccumulator, GradientsParams},
    tensor::Tensor,
};
use maskline_models::{
    input,
    prediction::{self, Prediction},
};

use super::Learner;
use crate::{
    batches::Batch,
    mixing::Mixed,
    random::{Purpose, derived_seed},
};

/// Classes with their shares of an image.
type Shares = Vec<(usize, f64)>;

/// The output of one step, which is read later.
pub(super) struct StepOutput {
    /// The logits of each part of the batch.
    parts: Vec<Tensor<2>>,
    /// The true class of each image.
    classes: Vec<usize>,
    /// The images that they were mixed with, if they were.
    mixed: Option<Mixed>,
}

impl StepOutput {
    /// The prediction for each image of the batch, with its class, and with the classes that it was
    /// mixed of.
    pub(super) fn read(self) -> Result<Vec<(Prediction, usize, Shares)>> {
        let mut predictions = Vec::with_capacity(self.classes.len());
        for logits in self.parts {
            predictions.extend(Prediction::of_batch(logits)?);
        }
        let labelled = predictions.into_iter().zip(self.classes).enumerate();
        let read = labelled.map(|(index, (prediction, class))| {
            let shares = Mixed::shares(self.mixed.as_ref(), index, class);
            (prediction, class, shares)
        });
        Ok(read.collect())
    }

    /// The number of images in the largest part.
    #[cfg(test)]
    pub(super) fn images_at_a_time(&self) -> usize {
        let images = self.parts.iter().map(|logits| logits.dims()[0]);
        images.max().unwrap_or_default()
    }
}

impl Learner {
    /// Trains one step. The output is that of the network before the step.
    pub(super) fn step(&mut self, batch: Batch, rate: f64) -> StepOutput {
        let epoch = self.progress.epochs.len();
        // Each step has a seed of its own, so that a run that was interrupted drops the
        // same values as one that was not.
        let (step, seed) = (self.progress.step, self.config.settings.seed);
        self.device
            .seed(derived_seed(seed, Purpose::Dropout, epoch, step));
        let (classes, mixed) = (batch.classes.clone(), batch.mixed.clone());
        let mut sum = GradientsAccumulator::new();
        let mut parts = vec![];
        for part in batch.divide(self.progress.parts) {
            let share = part.classes.len() as f64 / classes.len() as f64;
            let (logits, gradients) = self.gradients(part, share);
            sum.accumulate(&self.network, gradients);
            parts.push(logits);
        }
        let network = self.network.clone();
        self.network = self.optimizer.step(rate, network, sum.grads());
        StepOutput {
            parts,
            classes,
            mixed,
        }
    }

    /// The logits and the gradients of one part of a batch, which is this share of it.
    fn gradients(&self, part: Batch, share: f64) -> (Tensor<2>, GradientsParams) {
        let settings = &self.config.settings;
        let Batch {
            planes,
            classes,
            mixed,
        } = part;
        let images = input::tensor(planes, settings.pixels, &self.device);
        let logits = self.network.forward(images);
        let loss = |classes: &[usize]| {
            prediction::training_loss(logits.clone(), classes, settings.label_smoothing)
        };
        let loss = match &mixed {
            None => loss(&classes),
            Some(mixed) => {
                let (own, other) = (f64::from(mixed.own), 1.0 - f64::from(mixed.own));
                loss(&classes) * own + loss(&mixed.classes) * other
            }
        };
        // The loss is the mean over the images of the part.
        let loss = if share < 1.0 { loss * share } else { loss };
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        (logits.inner(), gradients)
    }
}
