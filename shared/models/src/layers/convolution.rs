//! Convolutions. Each is computed by the operation that fits its shape.

use burn::{
    module::{Module, Param},
    tensor::{
        Tensor, module,
        ops::{ConvOptions, PadMode},
    },
};

use super::pass::Pass;
#[cfg(feature = "gpu")]
use crate::ops::gpu_depthwise;
use crate::{
    error::ModelError,
    init::{Builder, Init},
    ops::{Kernels, Padding, depthwise, pointwise, stem},
};

/// A convolution. Its padding, of either kind, keeps the size of the image, apart from the stride.
#[derive(Module, Debug)]
pub struct Convolution {
    pub name: String,
    /// `[filters, channels / groups, k, k]`
    pub weight: Param<Tensor<4>>,
    pub bias: Option<Param<Tensor<1>>>,
    pub stride: usize,
    pub groups: usize,
    #[module(skip)]
    padding: Padding,
}

/// How a convolution moves over the image.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    pub stride: usize,
    pub groups: usize,
    pub padding: Padding,
}

impl Convolution {
    pub fn new(
        builder: &mut Builder,
        name: String,
        shape: [usize; 4],
        steps: Steps,
    ) -> Result<Self, ModelError> {
        let weight = format!("{name}.weight");
        Ok(Self {
            weight: builder.parameter(&weight, shape, Init::kaiming(shape))?,
            bias: None,
            name,
            stride: steps.stride,
            groups: steps.groups,
            padding: steps.padding,
        })
    }

    /// A 1 × 1 convolution with a bias.
    pub fn with_bias(
        builder: &mut Builder,
        name: String,
        channels: usize,
        filters: usize,
    ) -> Result<Self, ModelError> {
        let steps = Steps {
            stride: 1,
            groups: 1,
            padding: Padding::Symmetric,
        };
        let mut convolution = Self::new(builder, name, [filters, channels, 1, 1], steps)?;
        let bias = format!("{}.bias", convolution.name);
        convolution.bias = Some(builder.parameter(&bias, [filters], Init::Constant(0.0))?);
        Ok(convolution)
    }

    pub fn forward(&self, input: Tensor<4>, pass: Pass) -> Tensor<4> {
        let weight = self.weight.val();
        let [filters, channels, kernel, _] = weight.dims();
        let is_depthwise = self.groups == filters && channels == 1;
        match pass.kernels {
            Kernels::Own if self.bias.is_some() => self.by_burn(input, weight),
            Kernels::Own if is_depthwise => depthwise(input, weight, self.stride, self.padding),
            Kernels::Own if kernel == 1 && self.stride == 1 => pointwise(input, weight),
            Kernels::Own => stem(input, weight, self.stride, self.padding),
            #[cfg(feature = "gpu")]
            Kernels::Gpu if is_depthwise => {
                let (input, padding) = self.padded(input, kernel);
                gpu_depthwise(input, weight, self.stride, padding)
            }
            _ => self.by_burn(input, weight),
        }
    }

    fn by_burn(&self, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let (input, padding) = self.padded(input, weight.dims()[2]);
        let bias = self.bias.as_ref().map(Param::val);
        let options = ConvOptions::new([self.stride; 2], padding, [1; 2], self.groups);
        module::conv2d(input, weight, bias, options)
    }

    /// The input, and the numbers of zeros that are still to be put before and after its rows and
    /// its columns. Burn puts as many on both sides. Other zeros are made part of the input.
    fn padded(&self, input: Tensor<4>, kernel: usize) -> (Tensor<4>, [usize; 2]) {
        let [_, _, height, width] = input.dims();
        let around = [height, width].map(|side| self.padding.around(side, kernel, self.stride));
        match around {
            [[above, below], [left, right]] if above == below && left == right => {
                (input, [above, left])
            }
            around => {
                let zeros = around.map(|[before, after]| (before, after));
                (input.pad(zeros, PadMode::Constant(0.0)), [0, 0])
            }
        }
    }
}
