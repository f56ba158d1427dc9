//! A trained network, to ask what images show.

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData, activation::softmax},
};

use crate::{
    ModelError, Network,
    weights::{self, Card},
};

/// Inference only. Any number of threads may ask at once.
#[derive(Debug)]
pub struct Classifier {
    network: Network,
    card: Card,
    device: Device,
}

/// Images computed at once: more would only take memory.
const BATCH: usize = 32;

impl Classifier {
    /// From a file of [`weights::to_safetensors`].
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

    /// For each image the probabilities by class, in the card's order.
    ///
    /// `planes` holds `images` × 3 × pixels × pixels values: RGB, 0–1, the card's
    /// pixels.
    ///
    /// # Panics
    /// If `planes` is of another length.
    pub fn probabilities(&self, planes: Vec<f32>, images: usize) -> Vec<Vec<f32>> {
        let side = self.card.pixels as usize;
        let image = 3 * side * side;
        assert_eq!(
            planes.len(),
            images * image,
            "the planes of {images} images"
        );
        let mut probabilities = Vec::with_capacity(images);
        for batch in planes.chunks(BATCH * image) {
            let shape = [batch.len() / image, 3, side, side];
            let batch = Tensor::from_data(TensorData::new(batch.to_vec(), shape), &self.device);
            let of_batch = softmax(self.network.forward(batch), 1).into_data();
            let values: Vec<f32> = of_batch.iter::<f32>().collect();
            probabilities.extend(values.chunks(self.network.classes()).map(<[f32]>::to_vec));
        }
        probabilities
    }
}
