//! The sizes of a convolution.

use crate::ops::prelude::*;

/// Where the zeros around an image lie that let a convolution keep its size, apart from the
/// stride. Of either kind, the output of `side` pixels has ⌈side / stride⌉.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// k / 2 on every side, as PyTorch's networks have it.
    Symmetric,
    /// TensorFlow's `SAME`: only as many as the filters reach, and if their number is odd, the
    /// odd one is at the right or at the bottom.
    Same,
}

impl Padding {
    /// The numbers of zeros before and after the `side` pixels of a row or a column.
    pub fn around(self, side: usize, kernel: usize, stride: usize) -> [usize; 2] {
        match self {
            Self::Symmetric => [kernel / 2; 2],
            Self::Same => {
                let reached = (side.div_ceil(stride) - 1) * stride + kernel;
                let all = reached.saturating_sub(side);
                [all / 2, all - all / 2]
            }
        }
    }
}

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
    /// The number of zeros above and at the left of the input.
    pub before: [usize; 2],
}

impl Geometry {
    /// The geometry of `input`, `[batch, channels, height, width]`, and `weight`,
    /// `[filters, …, k, k]`.
    pub fn of(input: &FlexTensor, weight: &FlexTensor, stride: usize, padding: Padding) -> Self {
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
            before: [height, width].map(|side| padding.around(side, kernel, stride)[0]),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_zero_of_tensorflows_padding_comes_last() {
        let same = |side, kernel, stride| Padding::Same.around(side, kernel, stride);
        // An even side at stride 2 reaches over the end alone, an odd one on both sides.
        assert_eq!(same(112, 3, 2), [0, 1]);
        assert_eq!(same(7, 3, 2), [1, 1]);
        assert_eq!(same(56, 5, 2), [1, 2]);
        assert_eq!(same(7, 5, 2), [2, 2]);
        assert_eq!(same(1, 5, 2), [2, 2]);
        assert_eq!(same(14, 5, 1), [2, 2]);
        assert_eq!(Padding::Symmetric.around(112, 3, 2), [1, 1]);
    }
}
