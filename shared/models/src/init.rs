//! Where a new network's values come from: chance, or a file.

use burn::{
    module::Param,
    tensor::{Device, Tensor, TensorData},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::ModelError;

/// How a tensor begins, after torchvision.
#[derive(Debug, Clone, Copy)]
pub enum Init {
    Constant(f32),
    Normal {
        deviation: f64,
    },
    /// Within ± the bound.
    Uniform {
        bound: f64,
    },
}

impl Init {
    /// He et al., 2015, by the fan out as PyTorch reckons it: all filters, even of a
    /// depthwise convolution.
    pub fn kaiming([filters, _, height, width]: [usize; 4]) -> Self {
        let fan_out = (filters * height * width) as f64;
        Self::Normal {
            deviation: (2.0 / fan_out).sqrt(),
        }
    }
}

/// Gives each tensor of a network its values, by torchvision's name.
pub trait Source {
    fn values(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Vec<f32>, ModelError>;
}

/// What a network is built of, and where.
pub struct Builder<'a> {
    pub source: &'a mut dyn Source,
    pub device: &'a Device,
}

impl Builder<'_> {
    pub fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        init: Init,
    ) -> Result<Tensor<D>, ModelError> {
        let values = self.source.values(name, &shape, init)?;
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            self.device,
        ))
    }

    pub fn parameter<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        init: Init,
    ) -> Result<Param<Tensor<D>>, ModelError> {
        Ok(Param::from_tensor(self.tensor(name, shape, init)?))
    }
}

/// Random values; the same seed gives the same on every device and machine.
pub struct Chance(StdRng);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.random::<f64>()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.0.random::<f64>()).cos()
    }
}

impl Source for Chance {
    fn values(&mut self, _: &str, shape: &[usize], init: Init) -> Result<Vec<f32>, ModelError> {
        let value = |_| match init {
            Init::Constant(value) => value,
            Init::Normal { deviation } => (deviation * self.normal()) as f32,
            Init::Uniform { bound } => (bound * (2.0 * self.0.random::<f64>() - 1.0)) as f32,
        };
        Ok((0..shape.iter().product()).map(value).collect())
    }
}
