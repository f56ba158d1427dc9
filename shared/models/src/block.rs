//! The inverted residual block, which all networks are made of: it expands the
//! channels, filters each of them, weighs them and projects them.

use burn::{module::Module, tensor::Tensor};

use crate::{
    error::ModelError,
    init::Builder,
    layers::{ConvNorm, ConvNormConfig, Pass, SqueezeExcite, StochasticDepth},
    names::BlockNames,
    ops::Activation,
    table::{Stage, Table},
};

#[derive(Module, Debug)]
pub struct InvertedResidual {
    pub expand: Option<ConvNorm>,
    pub depthwise: ConvNorm,
    pub squeeze: Option<SqueezeExcite>,
    pub project: ConvNorm,
    skip: StochasticDepth,
    /// The block adds its input to its output.
    has_shortcut: bool,
}

/// The settings in which blocks of the same stage differ.
pub struct BlockConfig {
    /// The channels of the input.
    pub channels: usize,
    pub stride: usize,
    /// The probability that an image skips the block in training.
    pub skip: f64,
}

impl InvertedResidual {
    pub fn new(
        builder: &mut Builder,
        mut names: BlockNames,
        table: &Table,
        stage: &Stage,
        config: BlockConfig,
    ) -> Result<Self, ModelError> {
        let expanded = stage.expansion.of(config.channels);
        let pointwise = |channels, filters, activation| ConvNormConfig {
            channels,
            filters,
            kernel: 1,
            stride: 1,
            groups: 1,
            padding: table.padding,
            activation,
            epsilon: table.epsilon,
        };
        let expand = if expanded == config.channels {
            None
        } else {
            let expand = pointwise(config.channels, expanded, stage.activation);
            Some(ConvNorm::new(builder, names.convolution(), expand)?)
        };
        let depthwise = ConvNormConfig {
            channels: expanded,
            filters: expanded,
            kernel: stage.kernel,
            stride: config.stride,
            groups: expanded,
            padding: table.padding,
            activation: stage.activation,
            epsilon: table.epsilon,
        };
        let depthwise = ConvNorm::new(builder, names.convolution(), depthwise)?;
        let squeeze = match &table.squeeze {
            Some(squeeze) if stage.squeeze => Some(SqueezeExcite::new(
                builder,
                names.squeeze(),
                expanded,
                squeeze.width(config.channels, expanded),
                squeeze.activation,
                squeeze.gate,
            )?),
            _ => None,
        };
        let project = pointwise(expanded, stage.channels, Activation::None);
        Ok(Self {
            expand,
            depthwise,
            squeeze,
            project: ConvNorm::new(builder, names.projection(), project)?,
            skip: StochasticDepth::new(config.skip),
            has_shortcut: config.stride == 1 && config.channels == stage.channels,
        })
    }

    /// Sets the probability with which an image skips the block in training.
    pub fn set_skip(&mut self, probability: f64) {
        self.skip = StochasticDepth::new(probability);
    }

    pub fn forward(&self, input: Tensor<4>, pass: Pass) -> Tensor<4> {
        let shortcut = self.has_shortcut.then(|| input.clone());
        let mut output = input;
        if let Some(expand) = &self.expand {
            output = expand.forward(output, pass);
        }
        output = self.depthwise.forward(output, pass);
        if let Some(squeeze) = &self.squeeze {
            output = squeeze.forward(output, pass);
        }
        match shortcut {
            Some(shortcut) if self.skip.is_active(&shortcut, pass) => {
                self.skip.forward(self.project.forward(output, pass)) + shortcut
            }
            shortcut => self.project.forward_with(output, shortcut, pass),
        }
    }
}
