//! The network's layers on the CPU. Each is one operation, on one thread.
//!
//! Both kinds of layers are computed in runs of sixteen neighbouring pixels. First a *column* of
//! sixteen values is made for each channel (a depthwise convolution) or for each value under the
//! filter (the stem). Then every filter adds up the columns, and its bias, the shortcut and ReLU
//! follow while the sums are in registers. The columns of a run stay in the first cache.
//!
//! * `layer`: a layer, run by run.
//! * `columns`: the columns of a run.
//! * `padded`: an image with zeros around it, which columns are made of.
//! * `sizes`: the sizes of a layer.

mod columns;
mod layer;
mod padded;
mod sizes;

use burn::{
    backend::{
        Backend, Dispatch, Flex, TensorMetadata, backend_extension, flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};

use columns::{Depthwise, Windows};
use layer::{Filters, layer};

/// Computes `relu(convolution(input) + bias)` with filters of 5 × 5 pixels and stride 2.
///
/// * `input`: `[batch, channels, height, width]`. Both sides are even, and it is padded by one
///   zero before and by two after each row and column.
/// * `weight`: `[filters, channels, 5, 5]`
///
/// Returns `[batch, filters, height / 2, width / 2]`.
///
/// # Panics
/// Panics if half of the width is not a multiple of eight, or if half of the height times half of
/// the width is not one of sixteen.
pub fn stem(input: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as LayerOps>::stem(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Computes `relu(pointwise(depthwise(input)) + shortcut)`, where both convolutions have a bias.
/// The shortcut is the input, made smaller by max pooling if the stride is 2, and 0 in the channels
/// that the input does not have.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weights`: `[channels, 1, 3, 3]` and `[filters, channels, 1, 1]`
/// * `biases`: `[channels]` and `[filters]`
/// * `stride`: 1 or 2, which the height and the width are multiples of
///
/// Returns `[batch, filters, height / stride, width / stride]`.
///
/// # Panics
/// Panics if the output's width is not a multiple of eight, or its pixels are not one of sixteen.
pub fn separable(
    input: Tensor<4>,
    weights: [Tensor<4>; 2],
    biases: [Tensor<1>; 2],
    stride: usize,
) -> Tensor<4> {
    let [depthwise, pointwise] = weights.map(Tensor::into_dispatch);
    let [depthwise_bias, pointwise_bias] = biases.map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as LayerOps>::separable(
        input.into_dispatch(),
        depthwise,
        depthwise_bias,
        pointwise,
        pointwise_bias,
        stride,
    ))
}

#[backend_extension(Flex)]
pub trait LayerOps: Backend {
    fn stem(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn separable(
        input: FloatTensor<Self>,
        depthwise: FloatTensor<Self>,
        depthwise_bias: FloatTensor<Self>,
        pointwise: FloatTensor<Self>,
        pointwise_bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;
}

impl LayerOps for Flex {
    fn stem(input: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let [_, channels, ..] = input.shape().dims::<4>();
        let [input, weight, bias] = [input, weight, bias].map(|tensor| tensor.to_contiguous());
        let columns = Windows { channels };
        let filters = Filters {
            weight: weight.storage(),
            bias: bias.storage(),
            has_shortcut: false,
        };
        layer(input, 2, &columns, &filters)
    }

    fn separable(
        input: FlexTensor,
        depthwise: FlexTensor,
        depthwise_bias: FlexTensor,
        pointwise: FlexTensor,
        pointwise_bias: FlexTensor,
        stride: usize,
    ) -> FlexTensor {
        let [input, depthwise, depthwise_bias] =
            [input, depthwise, depthwise_bias].map(|tensor| tensor.to_contiguous());
        let [pointwise, pointwise_bias] =
            [pointwise, pointwise_bias].map(|tensor| tensor.to_contiguous());
        let (weights, _) = depthwise.storage::<f32>().as_chunks();
        let columns = Depthwise {
            weights,
            bias: depthwise_bias.storage(),
        };
        let filters = Filters {
            weight: pointwise.storage(),
            bias: pointwise_bias.storage(),
            has_shortcut: true,
        };
        layer(input, stride, &columns, &filters)
    }
}
