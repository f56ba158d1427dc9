//! The inverted residual: expand, filter each channel, weigh the channels, project.
//! All four networks are made of it.

use burn::{module::Module, tensor::Tensor};

use crate::{
    ModelError,
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
    /// What comes in is added to what comes out.
    has_shortcut: bool,
}

/// Where a block stands.
pub struct Place {
    /// Channels of its input.
    pub channels: usize,
    pub stride: usize,
    /// Probability that training skips it.
    pub skip: f64,
}

impl InvertedResidual {
    pub fn new(
        builder: &mut Builder,
        mut names: BlockNames,
        table: &Table,
        stage: &Stage,
        place: Place,
    ) -> Result<Self, ModelError> {
        let expanded = stage.expansion.of(place.channels);
        let pointwise = |channels, filters, activation| ConvNormConfig {
            channels,
            filters,
            kernel: 1,
            stride: 1,
            groups: 1,
            activation,
            epsilon: table.epsilon,
        };
        let expand = if expanded == place.channels {
            None
        } else {
            let config = pointwise(place.channels, expanded, stage.activation);
            Some(ConvNorm::new(builder, names.convolution(), config)?)
        };
        let depthwise = ConvNormConfig {
            channels: expanded,
            filters: expanded,
            kernel: stage.kernel,
            stride: place.stride,
            groups: expanded,
            activation: stage.activation,
            epsilon: table.epsilon,
        };
        let depthwise = ConvNorm::new(builder, names.convolution(), depthwise)?;
        let squeeze = match &table.squeeze {
            Some(squeeze) if stage.squeeze => Some(SqueezeExcite::new(
                builder,
                names.squeeze(),
                expanded,
                squeeze.width(place.channels, expanded),
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
            skip: StochasticDepth::new(place.skip),
            has_shortcut: place.stride == 1 && place.channels == stage.channels,
        })
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
