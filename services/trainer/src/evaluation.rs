//! What a network predicts for images.

use std::thread;

use anyhow::Result;
use burn::tensor::Device;
use maskline_models::{
    Network, device, input,
    prediction::{Prediction, Tally},
};
use rayon::ThreadPool;

use crate::{
    batches::{self, Preparation},
    examples::ExampleSet,
    interrupt::Interrupt,
    parts,
    shown::InputShape,
};

/// How networks are evaluated.
pub(crate) struct Evaluator<'a> {
    /// The threads that prepare images.
    pub(crate) threads: &'a ThreadPool,
    /// The input of the network.
    pub(crate) input: InputShape,
    /// The number of images that are computed at a time. If the device has no memory for them, there
    /// are fewer.
    pub(crate) batch: usize,
    pub(crate) device: &'a Device,
    pub(crate) interrupt: &'a Interrupt,
}

impl Evaluator<'_> {
    /// Returns the predictions of a network that infers for all images of `set`, in their order,
    /// or `None` if the interrupt is requested meanwhile.
    pub(crate) fn predict(
        &self,
        network: &Network,
        set: &ExampleSet,
    ) -> Result<Option<Vec<Prediction>>> {
        let indices: Vec<usize> = (0..set.len()).collect();
        self.predict_some(network, set, &indices, Preparation::Plain)
    }

    /// The same for the images at `indices`, with another preparation.
    pub(crate) fn predict_some(
        &self,
        network: &Network,
        set: &ExampleSet,
        indices: &[usize],
        preparation: Preparation,
    ) -> Result<Option<Vec<Prediction>>> {
        parts::halving(self.batch, |batch| {
            self.predict_in(batch, network, set, indices, preparation)
        })
    }

    /// The same with `batch` images at a time.
    fn predict_in(
        &self,
        batch: usize,
        network: &Network,
        set: &ExampleSet,
        indices: &[usize],
        preparation: Preparation,
    ) -> Result<Option<Vec<Prediction>>> {
        let batches = indices.chunks(batch).map(<[usize]>::to_vec).collect();
        let side = self.input.pixels;
        thread::scope(|scope| {
            let prepared = batches::prepare(scope, self.threads, set, batches, side, preparation);
            let goes_on = |_: &_| !self.interrupt.is_requested();
            let outputs = prepared.into_iter().take_while(goes_on).map(|batch| {
                let images = input::tensor(batch?.planes, side, self.device);
                anyhow::Ok(network.forward(images))
            });
            let mut predictions = Vec::with_capacity(indices.len());
            for logits in device::one_behind(outputs) {
                predictions.extend(Prediction::of_batch(logits?)?);
            }
            Ok((predictions.len() == indices.len()).then_some(predictions))
        })
    }
}

/// Adds up `predictions`, one for each image of `set`, in its order.
pub(crate) fn tally(predictions: &[Prediction], set: &ExampleSet) -> Tally {
    let mut tally = Tally::default();
    for (prediction, class) in predictions.iter().zip(set.classes()) {
        tally.add(prediction, class);
    }
    tally
}
