//! The sizes of a convolution.

use crate::ops::prelude::*;

/// The sizes of a convolution. Heights and widths are `[height, width]`.
#[derive(Clone, Copy)]
pub struct Geometry {
    pub images: usize,
    pub channels: usize,
    pub filters: usize,
    pub input: [usize; 2],
    pub output: [usize; 2],
    /// The side of a filter.
    pub kernel: usize,
    pub stride: usize,
}

impl Geometry {
    /// The geometry of `input`, `[batch, channels, height, width]`, and `weight`,
    /// `[filters, …, k, k]`, padded so that stride 1 keeps the size.
    pub fn of(input: &FlexTensor, weight: &FlexTensor, stride: usize) -> Self {
        let [images, channels, height, width] = input.shape().dims();
        let [filters, _, kernel, _] = weight.shape().dims();
        Self {
            images,
            channels,
            filters,
            input: [height, width],
            output: [height.div_ceil(stride), width.div_ceil(stride)],
            kernel,
            stride,
        }
    }

    /// The number of values in one channel of an input image.
    #[inline]
    pub fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// The number of values in one channel of an output image.
    #[inline]
    pub fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// The number of zeros on each side of the input.
    #[inline]
    pub fn padding(&self) -> usize {
        self.kernel / 2
    }

    /// A tensor of `values` with the shape of the input.
    pub fn input_tensor(&self, values: Vec<f32>) -> FlexTensor {
        let [height, width] = self.input;
        tensor(values, [self.images, self.channels, height, width])
    }

    /// A tensor of `values` with the shape of the output.
    pub fn output_tensor(&self, values: Vec<f32>) -> FlexTensor {
        let [height, width] = self.output;
        tensor(values, [self.images, self.filters, height, width])
    }
}
