//! A trained network that classifies images.

use burn::{module::Module, tensor::Device};
use image::RgbImage;
use maskline_vision::view::Part;

use crate::{
    error::ModelError,
    input,
    network::Network,
    prediction::Prediction,
    weights::{self, Card},
};

/// The number of images that are computed at once: more would only take memory.
const BATCH: usize = 32;

/// A trained network. Any number of threads may use it at the same time.
#[derive(Debug)]
pub struct Classifier {
    network: Network,
    card: Card,
    device: Device,
}

/// One picture as the input of a classifier, see [`Classifier::input`].
#[derive(Debug, Clone, PartialEq)]
pub struct Input(Vec<u8>);

impl Classifier {
    /// Reads a file of [`weights::to_safetensors`].
    ///
    /// # Errors
    /// See [`weights::from_safetensors`].
    pub fn load(safetensors: &[u8], device: &Device) -> Result<Self, ModelError> {
        let device = device.clone().without_autodiff();
        let (network, card) = weights::from_safetensors(safetensors, &device)?;
        Ok(Self {
            network: network.valid(),
            card,
            device,
        })
    }

    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Prepares a part of a picture of any size.
    pub fn input(&self, picture: &RgbImage, part: &Part) -> Input {
        let side = self.card.pixels;
        let mut values = vec![0; input::len(side)];
        input::write(&part.square(picture, side), side, &mut values);
        Input(values)
    }

    /// A prediction for each input, in their order, with the card's temperature. Class indexes are
    /// into the card's classes.
    ///
    /// # Errors
    /// [`ModelError::Output`] if the device fails, and [`ModelError::NotANumber`] if the weights are
    /// such that there is no output.
    ///
    /// # Panics
    /// If an input was prepared by a classifier of another size.
    pub fn predict<'a>(
        &self,
        inputs: impl IntoIterator<Item = &'a Input>,
    ) -> Result<Vec<Prediction>, ModelError> {
        let inputs: Vec<&[u8]> = inputs.into_iter().map(|input| &input.0[..]).collect();
        let mut predictions = Vec::with_capacity(inputs.len());
        for batch in inputs.chunks(BATCH) {
            let batch = input::tensor(batch.concat(), self.card.pixels, &self.device);
            let raw = Prediction::of_batch(self.network.forward(batch))?;
            if raw.iter().any(|prediction| !prediction.is_finite()) {
                return Err(ModelError::NotANumber);
            }
            let temperature = self.card.temperature;
            predictions.extend(raw.iter().map(|prediction| temperature.applied(prediction)));
        }
        Ok(predictions)
    }
}
