//! Convolutions. Each is computed by the operation that fits its shape.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, module, ops::ConvOptions},
};

use super::pass::Pass;
use crate::{
    error::ModelError,
    init::{Builder, Init},
    ops::{Kernels, depthwise, pointwise, stem},
};

/// A convolution. Its padding keeps the size of the image, apart from the stride.
#[derive(Module, Debug)]
pub struct Convolution {
    pub name: String,
    /// `[filters, channels / groups, k, k]`
    pub weight: Param<Tensor<4>>,
    pub bias: Option<Param<Tensor<1>>>,
    pub stride: usize,
    pub groups: usize,
}

impl Convolution {
    pub fn new(
        builder: &mut Builder,
        name: String,
        shape: [usize; 4],
        stride: usize,
        groups: usize,
    ) -> Result<Self, ModelError> {
        let weight = format!("{name}.weight");
        Ok(Self {
            weight: builder.parameter(&weight, shape, Init::kaiming(shape))?,
            bias: None,
            name,
            stride,
            groups,
        })
    }

    /// A 1 × 1 convolution with a bias.
    pub fn with_bias(
        builder: &mut Builder,
        name: String,
        channels: usize,
        filters: usize,
    ) -> Result<Self, ModelError> {
        let mut convolution = Self::new(builder, name, [filters, channels, 1, 1], 1, 1)?;
        let bias = format!("{}.bias", convolution.name);
        convolution.bias = Some(builder.parameter(&bias, [filters], Init::Constant(0.0))?);
        Ok(convolution)
    }

    pub fn forward(&self, input: Tensor<4>, pass: Pass) -> Tensor<4> {
        let weight = self.weight.val();
        let [filters, channels, kernel, _] = weight.dims();
        match pass.kernels {
            Kernels::Own if self.bias.is_some() => self.by_burn(input, weight),
            Kernels::Own if self.groups == filters && channels == 1 => {
                depthwise(input, weight, self.stride)
            }
            Kernels::Own if kernel == 1 && self.stride == 1 => pointwise(input, weight),
            Kernels::Own => stem(input, weight, self.stride),
            Kernels::Burn => self.by_burn(input, weight),
        }
    }

    fn by_burn(&self, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let pad = weight.dims()[2] / 2;
        let options = ConvOptions::new([self.stride; 2], [pad; 2], [1; 2], self.groups);
        let bias = self.bias.as_ref().map(Param::val);
        module::conv2d(input, weight, bias, options)
    }
}
