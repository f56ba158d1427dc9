//! Squeeze-and-excitation.

use burn::{module::Module, tensor::Tensor};

use super::{convolution::Convolution, pass::Pass};
#[cfg(feature = "gpu")]
use crate::ops::gpu_squeeze_excite;
use crate::{
    error::ModelError,
    init::Builder,
    ops::{Activation, Gate, Kernels, SqueezeLayers, squeeze_excite},
};

/// Multiplies each channel by a weight that a small network computes from the means of
/// all channels.
#[derive(Module, Debug)]
pub struct SqueezeExcite {
    pub reduce: Convolution,
    pub expand: Convolution,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    gate: Gate,
}

impl SqueezeExcite {
    pub fn new(
        builder: &mut Builder,
        (reduce, expand): (String, String),
        channels: usize,
        squeezed: usize,
        activation: Activation,
        gate: Gate,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            reduce: Convolution::with_bias(builder, reduce, channels, squeezed)?,
            expand: Convolution::with_bias(builder, expand, squeezed, channels)?,
            activation,
            gate,
        })
    }

    pub fn forward(&self, input: Tensor<4>, pass: Pass) -> Tensor<4> {
        let operation = match pass.kernels {
            Kernels::Own => Some(squeeze_excite as fn(_, _) -> _),
            #[cfg(feature = "gpu")]
            Kernels::Gpu => Some(gpu_squeeze_excite as fn(_, _) -> _),
            Kernels::Burn => None,
        };
        if let (Some(operation), Some(reduce), Some(expand)) =
            (operation, &self.reduce.bias, &self.expand.bias)
        {
            let layers = SqueezeLayers {
                reduce: (self.reduce.weight.val(), reduce.val()),
                expand: (self.expand.weight.val(), expand.val()),
                activation: self.activation,
                gate: self.gate,
            };
            return operation(input, layers);
        }
        let means = input.clone().mean_dims(&[2, 3]);
        let squeezed = self.activation.forward(self.reduce.forward(means, pass));
        input * self.gate.forward(self.expand.forward(squeezed, pass))
    }
}
