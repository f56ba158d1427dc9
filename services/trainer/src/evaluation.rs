//! What a network predicts for a validation set.

use std::thread;

use anyhow::Result;
use burn::tensor::Device;
use maskline_models::{
    Network, input,
    prediction::{Prediction, Tally},
};

use crate::{
    batches::{self, Preparation},
    course::Halt,
    examples::{ExampleSet, Examples},
};

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
            let images = input::tensor(batch?.planes, side, device);
            all.extend(Prediction::of_batch(network.forward(images))?);
        }
        Ok(Some(all))
    })
}

/// Adds up `predictions`, one for each image of `set`, in its order.
pub fn tally(predictions: &[Prediction], set: &ExampleSet) -> Tally {
    let mut tally = Tally::default();
    for (prediction, class) in predictions.iter().zip(set.classes()) {
        tally.add(prediction, class);
    }
    tally
}
