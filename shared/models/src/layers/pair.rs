//! A convolution with batch norm and activation, which all blocks are made of.

use burn::{module::Module, tensor::Tensor};

use super::{
    convolution::{Convolution, Steps},
    norm::Norm,
    pass::Pass,
};
use crate::{
    error::ModelError,
    init::Builder,
    names::Pair,
    ops::{Activation, Padding},
};

/// A convolution, then batch norm, then an activation.
#[derive(Module, Debug)]
pub struct ConvNorm {
    pub convolution: Convolution,
    pub norm: Norm,
    #[module(skip)]
    activation: Activation,
}

/// The settings of a [`ConvNorm`].
pub struct ConvNormConfig {
    pub channels: usize,
    pub filters: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
    pub padding: Padding,
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
            padding,
            ..
        } = config;
        let steps = Steps {
            stride,
            groups,
            padding,
        };
        let shape = [filters, channels / groups, kernel, kernel];
        Ok(Self {
            convolution: Convolution::new(builder, convolution, shape, steps)?,
            norm: Norm::new(builder, norm, filters, config.epsilon)?,
            activation: config.activation,
        })
    }

    pub fn forward(&self, input: Tensor<4>, pass: Pass) -> Tensor<4> {
        self.forward_with(input, None, pass)
    }

    /// Adds `shortcut` to the output.
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
