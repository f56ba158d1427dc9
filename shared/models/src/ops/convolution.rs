//! Convolutions of images without a bias, one algorithm for each kind that the
//! networks have.

mod depthwise;
mod geometry;
#[cfg(feature = "gpu")]
mod gpu;
mod pointwise;
mod stem;

use super::prelude::*;

pub use geometry::Padding;
#[cfg(feature = "gpu")]
pub use gpu::gpu_depthwise;

/// Depthwise convolution on the CPU: a filter of its own for every channel.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weight`: `[channels, 1, k, k]`, k = 3 or 5
///
/// Returns `[batch, channels, ⌈height / stride⌉, ⌈width / stride⌉]`.
///
/// # Panics
/// Panics for any other filter than 3 × 3 and 5 × 5.
pub fn depthwise(
    input: Tensor<4>,
    weight: Tensor<4>,
    stride: usize,
    padding: Padding,
) -> Tensor<4> {
    convolve(input, weight, Convolution::Depthwise { stride, padding })
}

/// Pointwise convolution on the CPU: filters of 1 × 1 pixel, with stride 1.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weight`: `[filters, channels, 1, 1]`
///
/// Returns `[batch, filters, height, width]`.
pub fn pointwise(input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    convolve(input, weight, Convolution::Pointwise)
}

/// Convolution of few channels on the CPU, as in a network's first layer.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weight`: `[filters, channels, k, k]`, k odd
///
/// Returns `[batch, filters, ⌈height / stride⌉, ⌈width / stride⌉]`.
pub fn stem(input: Tensor<4>, weight: Tensor<4>, stride: usize, padding: Padding) -> Tensor<4> {
    convolve(input, weight, Convolution::Stem { stride, padding })
}

fn convolve(input: Tensor<4>, weight: Tensor<4>, convolution: Convolution) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as ConvolutionOps>::convolve(
        input.into_dispatch(),
        weight.into_dispatch(),
        convolution,
    ))
}

/// The kind of a convolution.
#[derive(Debug, Clone, Copy)]
pub enum Convolution {
    Depthwise { stride: usize, padding: Padding },
    Pointwise,
    Stem { stride: usize, padding: Padding },
}

#[backend_extension(Autodiff, Flex)]
pub trait ConvolutionOps: Backend {
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        convolution: Convolution,
    ) -> FloatTensor<Self>;
}

impl ConvolutionOps for Flex {
    fn convolve(input: FlexTensor, weight: FlexTensor, convolution: Convolution) -> FlexTensor {
        match convolution {
            Convolution::Depthwise { stride, padding } => {
                depthwise::forward(&input, &weight, stride, padding)
            }
            Convolution::Pointwise => pointwise::forward(&input, &weight),
            Convolution::Stem { stride, padding } => {
                stem::forward(&input, &weight, stride, padding)
            }
        }
    }
}

impl<C: CheckpointStrategy> ConvolutionOps for Autodiff<Flex, C> {
    fn convolve(
        input: AutodiffTensor,
        weight: AutodiffTensor,
        convolution: Convolution,
    ) -> AutodiffTensor {
        let (nodes, [input, weight]) = into_parts([input, weight]);
        let output = Flex::convolve(input.clone(), weight.clone(), convolution);
        let saved = Saved {
            input,
            weight,
            convolution,
        };
        track::<C, _, 2>(nodes, output, saved)
    }
}

/// The values that the backward pass of a convolution needs.
#[derive(Debug, Clone)]
struct Saved {
    input: FlexTensor,
    weight: FlexTensor,
    convolution: Convolution,
}

impl Differentiable<2> for Saved {
    fn gradients(self, gradient: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let (input, weight) = (&self.input, &self.weight);
        match self.convolution {
            Convolution::Depthwise { stride, padding } => {
                depthwise::gradients(input, weight, stride, padding, &gradient).map(Some)
            }
            Convolution::Pointwise => pointwise::gradients(input, weight, &gradient, wanted),
            Convolution::Stem { stride, padding } => {
                stem::gradients(input, weight, stride, padding, &gradient, wanted)
            }
        }
    }
}
