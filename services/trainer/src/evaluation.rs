//! What a network predicts for the validation images.

use std::thread;

use anyhow::Result;
use burn::tensor::Device;
use maskline_models::{
    Network, input,
    prediction::{Prediction, Tally},
};

use crate::{
    batches::{self, Preparation},
    examples::{ExampleSet, Examples},
    interrupt::Interrupt,
};

/// Returns the network's predictions for all validation images, in their order, or `None`
/// if `interrupt` is requested meanwhile. `network` is one that infers, `side` the side of
/// its input in pixels, and `batch` the number of images that are computed at a time.
pub(crate) fn evaluate(
    network: &Network,
    examples: &Examples,
    side: u32,
    batch: usize,
    device: &Device,
    interrupt: &Interrupt,
) -> Result<Option<Vec<Prediction>>> {
    let (threads, set) = (&examples.threads, &examples.validation);
    let indices: Vec<usize> = (0..set.len()).collect();
    let batches = indices.chunks(batch).map(<[usize]>::to_vec).collect();
    thread::scope(|scope| {
        let prepared = batches::prepare(scope, threads, set, batches, side, Preparation::Plain);
        let mut predictions = Vec::with_capacity(set.len());
        for batch in prepared {
            if interrupt.is_requested() {
                return Ok(None);
            }
            let images = input::tensor(batch?.planes, side, device);
            predictions.extend(Prediction::of_batch(network.forward(images))?);
        }
        Ok(Some(predictions))
    })
}

/// Adds up `predictions`, one for each image of `set`, in its order.
pub(crate) fn tally(predictions: &[Prediction], set: &ExampleSet) -> Tally {
    let mut tally = Tally::default();
    for (prediction, class) in predictions.iter().zip(set.classes()) {
        tally.add(prediction, class);
    }
    tally
}
