//! The gradients of the norm with the batch's statistics.

use std::{marker::PhantomData, mem::MaybeUninit};

use burn::backend::{TensorMetadata, flex::FlexTensor};
use rayon::prelude::*;

use super::{
    State, Statistics,
    layout::{Layout, Line, SUMS, total},
};
use crate::ops::{
    activation::{Curve, with_activation},
    filled,
    simd::{Kernel, vectorized},
    tensor, values,
};

/// The gradients by input, weight and bias.
pub fn backward(state: &State, gradient: &FlexTensor) -> (FlexTensor, FlexTensor, FlexTensor) {
    let layout = Layout::of(&state.input);
    let input = state.input.to_contiguous();
    let inputs = layout.split(values(&input));
    let gradients = layout.split(values(gradient));
    let weights: Vec<&[f32]> = values(&state.weight).chunks(layout.block).collect();
    let biases: Vec<&[f32]> = values(&state.bias).chunks(layout.block).collect();
    let statistics: Vec<&[Statistics]> = state.statistics.chunks(layout.block).collect();
    let mut by_parameters: Vec<Vec<(f32, f32)>> = Vec::new();
    let fill = |by_input: &mut [MaybeUninit<f32>]| {
        by_parameters = layout
            .split_mut(by_input)
            .into_par_iter()
            .enumerate()
            .map(|(block, by_input)| {
                with_activation!(state.activation, A => vectorized(BackwardBlock::<A> {
                    plane: layout.plane,
                    input: &inputs[block],
                    gradient: &gradients[block],
                    weight: weights[block],
                    bias: biases[block],
                    statistics: statistics[block],
                    by_input,
                    curve: PhantomData,
                }))
            })
            .collect();
    };
    // SAFETY: each block's kernel writes its part of every image.
    let by_input = unsafe { filled(values(&input).len(), fill) };
    let (by_weight, by_bias): (Vec<f32>, Vec<f32>) = by_parameters.into_iter().flatten().unzip();
    let channels = [layout.channels];
    (
        tensor::<4>(by_input, state.input.shape().dims()),
        tensor(by_weight, channels),
        tensor(by_bias, channels),
    )
}

/// The gradients of a block of channels; gives those by weight and bias.
struct BackwardBlock<'a, A> {
    plane: usize,
    input: &'a [&'a [f32]],
    gradient: &'a [&'a [f32]],
    weight: &'a [f32],
    bias: &'a [f32],
    statistics: &'a [Statistics],
    by_input: Vec<&'a mut [MaybeUninit<f32>]>,
    curve: PhantomData<A>,
}

impl<A: Curve> Kernel for BackwardBlock<'_, A> {
    type Output = Vec<(f32, f32)>;

    // With x̂ the normalized input, z = weight · x̂ + bias and δ the gradient by z:
    // the weight's is Σ δ x̂, the bias's Σ δ, and the input's
    // weight / deviation · (δ − mean δ − x̂ · mean(δ x̂)).
    // δ is computed twice rather than kept: memory is slower than arithmetic.
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<(f32, f32)> {
        let count = (self.input.len() * self.plane) as f64;
        let channels: Vec<Channel> = (self.statistics.iter())
            .zip(self.weight.iter().zip(self.bias))
            .map(|(statistics, (weight, bias))| Channel {
                normalize: Line {
                    scale: statistics.inverse_deviation,
                    offset: -statistics.mean * statistics.inverse_deviation,
                },
                affine: Line {
                    scale: *weight,
                    offset: *bias,
                },
            })
            .collect();
        let mut sums = vec![(0.0f64, 0.0f64); channels.len()];
        for (input, gradient) in self.input.iter().zip(self.gradient) {
            let planes = input.chunks(self.plane).zip(gradient.chunks(self.plane));
            for (channel, (input, gradient)) in planes.enumerate() {
                let (by_weight, by_bias) = channels[channel].sums::<A>(input, gradient);
                sums[channel].0 += f64::from(by_weight);
                sums[channel].1 += f64::from(by_bias);
            }
        }
        for (index, by_input) in self.by_input.into_iter().enumerate() {
            let planes = self.input[index]
                .chunks(self.plane)
                .zip(self.gradient[index].chunks(self.plane))
                .zip(by_input.chunks_mut(self.plane));
            for (at, ((input, gradient), by_input)) in planes.enumerate() {
                let channel = channels[at];
                let (by_weight, by_bias) = sums[at];
                let (slope, mean) = ((by_weight / count) as f32, (by_bias / count) as f32);
                let scale = channel.affine.scale * channel.normalize.scale;
                for ((by_input, x), gradient) in by_input.iter_mut().zip(input).zip(gradient) {
                    let (normalized, delta) = channel.delta::<A>(*x, *gradient);
                    by_input.write(scale * (delta - mean - normalized * slope));
                }
            }
        }
        let by_parameters = sums.into_iter();
        by_parameters
            .map(|(by_weight, by_bias)| (by_weight as f32, by_bias as f32))
            .collect()
    }
}

#[derive(Clone, Copy)]
struct Channel {
    normalize: Line,
    affine: Line,
}

impl Channel {
    /// The normalized input, and the gradient by what goes into the activation.
    #[inline(always)]
    fn delta<A: Curve>(self, x: f32, gradient: f32) -> (f32, f32) {
        let normalized = self.normalize.at(x);
        (normalized, gradient * A::slope(self.affine.at(normalized)))
    }

    /// Σ δ x̂ and Σ δ over one plane.
    #[inline(always)]
    fn sums<A: Curve>(self, input: &[f32], gradient: &[f32]) -> (f32, f32) {
        let (mut by_weight, mut by_bias) = ([0.0f32; SUMS], [0.0f32; SUMS]);
        let (inputs, rest) = input.as_chunks::<SUMS>();
        let (gradients, rest_gradient) = gradient.as_chunks::<SUMS>();
        for (input, gradient) in inputs.iter().zip(gradients) {
            for at in 0..SUMS {
                let (normalized, delta) = self.delta::<A>(input[at], gradient[at]);
                by_weight[at] += delta * normalized;
                by_bias[at] += delta;
            }
        }
        for (at, (x, gradient)) in rest.iter().zip(rest_gradient).enumerate() {
            let (normalized, delta) = self.delta::<A>(*x, *gradient);
            by_weight[at] += delta * normalized;
            by_bias[at] += delta;
        }
        (total(&by_weight), total(&by_bias))
    }
}
