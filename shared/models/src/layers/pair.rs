//! Convolution, batch norm and activation: what all blocks are made of.

use burn::{module::Module, tensor::Tensor};

use super::{Convolution, Norm, Pass};
use crate::{ModelError, init::Builder, names::Pair, ops::Activation};

/// Convolution, batch norm, activation.
#[derive(Module, Debug)]
pub struct ConvNorm {
    pub convolution: Convolution,
    pub norm: Norm,
    #[module(skip)]
    activation: Activation,
}

/// What a [`ConvNorm`] is.
pub struct ConvNormConfig {
    pub channels: usize,
    pub filters: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
    pub activation: Activation,
    pub epsilon: f64,
}

impl ConvNorm {
    pub fn new(
        builder: &mut Builder,
        (convolution, norm): Pair,
        config: ConvNormConfig,
    ) -> Result<Self, ModelError> {
        let ConvNormConfig {
            channels,
            filters,
            kernel,
            stride,
            groups,
            ..
        } = config;
        let shape = [filters, channels / groups, kernel, kernel];
        Ok(Self {
            convolution: Convolution::new(builder, convolution, shape, stride, groups)?,
            norm: Norm::new(builder, norm, filters, config.epsilon)?,
            activation: config.activation,
        })
    }

    pub fn forward(&self, input: Tensor<4>, pass: Pass) -> Tensor<4> {
        self.forward_with(input, None, pass)
    }

    /// With a shortcut that is added to what comes out.
    pub fn forward_with(
        &self,
        input: Tensor<4>,
        shortcut: Option<Tensor<4>>,
        pass: Pass,
    ) -> Tensor<4> {
        let output = self.convolution.forward(input, pass);
        self.norm.forward(output, self.activation, shortcut, pass)
    }
}
