//! A layer that has tensors, whatever its kind, and what the report says of it.

use serde::Serialize;

use crate::layers::{Convolution, Linear, Norm};

/// A layer in the report's table of layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerRow {
    /// The name in torchvision's state dict.
    pub name: String,
    /// For people: `convolution 3 × 3`, `depthwise 5 × 5`, `batch norm`, `linear`.
    pub kind: String,
    /// The channels or features of its output.
    pub channels: usize,
    /// The number of trainable parameters.
    pub parameters: u64,
}

/// A layer that has tensors.
pub enum Layer<'a> {
    Convolution(&'a Convolution),
    Norm(&'a Norm),
    Linear(&'a Linear),
}

impl Layer<'_> {
    pub fn name(&self) -> &str {
        match self {
            Self::Convolution(layer) => &layer.name,
            Self::Norm(layer) => &layer.name,
            Self::Linear(layer) => &layer.name,
        }
    }

    pub fn row(&self) -> LayerRow {
        let (kind, channels, parameters) = match self {
            Self::Convolution(layer) => {
                let [filters, channels, kernel, _] = layer.weight.dims();
                let depthwise = layer.groups > 1;
                let kind = if depthwise {
                    "depthwise"
                } else {
                    "convolution"
                };
                let bias = layer.bias.as_ref().map_or(0, |bias| bias.dims()[0]);
                let parameters = filters * channels * kernel * kernel + bias;
                (format!("{kind} {kernel} × {kernel}"), filters, parameters)
            }
            Self::Norm(layer) => {
                let [channels] = layer.weight.dims();
                ("batch norm".into(), channels, 2 * channels)
            }
            Self::Linear(layer) => {
                let [to, from] = layer.weight.dims();
                ("linear".into(), to, to * from + to)
            }
        };
        LayerRow {
            name: self.name().to_owned(),
            kind,
            channels,
            parameters: parameters as u64,
        }
    }
}
