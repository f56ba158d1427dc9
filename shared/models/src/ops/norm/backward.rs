//! The backward pass of the norm with the batch's statistics.

use std::{marker::PhantomData, sync::Arc};

use super::{
    layout::{Affine, Layout, SUMS, total},
    statistics::Statistics,
};
use crate::ops::{
    activation::{Activation, ScalarFunction, with_activation},
    prelude::*,
    simd::{SimdLoop, vectorized},
};

/// The values that the backward pass needs.
#[derive(Debug, Clone)]
pub struct Saved {
    pub input: FlexTensor,
    pub weight: FlexTensor,
    pub bias: FlexTensor,
    pub statistics: Arc<[Statistics]>,
    pub activation: Activation,
}

impl Differentiable<4> for Saved {
    fn gradients(self, gradient: FlexTensor, _wanted: [bool; 4]) -> [Option<FlexTensor>; 4] {
        let [input, weight, bias] = backward(&self, &gradient);
        [input, weight, bias, gradient].map(Some)
    }
}

/// The gradients with respect to input, weight and bias.
fn backward(saved: &Saved, gradient: &FlexTensor) -> [FlexTensor; 3] {
    let layout = Layout::of(&saved.input);
    let input = saved.input.to_contiguous();
    let inputs = layout.split(values(&input));
    let gradients = layout.split(values(gradient));
    let weights: Vec<&[f32]> = values(&saved.weight).chunks(layout.block).collect();
    let biases: Vec<&[f32]> = values(&saved.bias).chunks(layout.block).collect();
    let statistics: Vec<&[Statistics]> = saved.statistics.chunks(layout.block).collect();
    let mut parameter_gradients: Vec<Vec<(f32, f32)>> = Vec::new();
    let fill = |input_gradient: &mut [MaybeUninit<f32>]| {
        parameter_gradients = layout
            .split_mut(input_gradient)
            .into_par_iter()
            .enumerate()
            .map(|(block, input_gradient)| {
                with_activation!(saved.activation, A => vectorized(BackwardBlock::<A> {
                    plane: layout.plane,
                    input: &inputs[block],
                    gradient: &gradients[block],
                    weight: weights[block],
                    bias: biases[block],
                    statistics: statistics[block],
                    input_gradient,
                    function: PhantomData,
                }))
            })
            .collect();
    };
    // SAFETY: each block's loop writes its part of every image.
    let input_gradient = unsafe { filled(values(&input).len(), fill) };
    let (weight_gradient, bias_gradient): (Vec<f32>, Vec<f32>) =
        parameter_gradients.into_iter().flatten().unzip();
    let channels = [layout.channels];
    [
        tensor::<4>(input_gradient, saved.input.shape().dims()),
        tensor(weight_gradient, channels),
        tensor(bias_gradient, channels),
    ]
}

/// The backward pass of a block of channels. It writes the gradient with respect to the
/// input, and returns the ones with respect to weight and bias by channel.
struct BackwardBlock<'a, A> {
    plane: usize,
    input: &'a [&'a [f32]],
    gradient: &'a [&'a [f32]],
    weight: &'a [f32],
    bias: &'a [f32],
    statistics: &'a [Statistics],
    input_gradient: Vec<&'a mut [MaybeUninit<f32>]>,
    function: PhantomData<A>,
}

impl<A: ScalarFunction> SimdLoop for BackwardBlock<'_, A> {
    type Output = Vec<(f32, f32)>;

    // Let x̂ be the normalized input, z = weight · x̂ + bias, and δ the gradient with
    // respect to z. The weight's gradient is Σ δ x̂, the bias's is Σ δ, and the input's
    // is weight / deviation · (δ − mean δ − x̂ · mean(δ x̂)).
    // δ is computed twice and not stored, because memory is slower than arithmetic.
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<(f32, f32)> {
        let count = (self.input.len() * self.plane) as f64;
        let channels: Vec<Channel> = (self.statistics.iter())
            .zip(self.weight.iter().zip(self.bias))
            .map(|(statistics, (weight, bias))| Channel {
                normalization: Affine {
                    scale: statistics.inverse_deviation,
                    offset: -statistics.mean * statistics.inverse_deviation,
                },
                parameters: Affine {
                    scale: *weight,
                    offset: *bias,
                },
            })
            .collect();
        let mut sums = vec![(0.0f64, 0.0f64); channels.len()];
        for (input, gradient) in self.input.iter().zip(self.gradient) {
            let planes = input.chunks(self.plane).zip(gradient.chunks(self.plane));
            for (channel, (input, gradient)) in planes.enumerate() {
                let (weight_gradient, bias_gradient) = channels[channel].sums::<A>(input, gradient);
                sums[channel].0 += f64::from(weight_gradient);
                sums[channel].1 += f64::from(bias_gradient);
            }
        }
        for (index, input_gradient) in self.input_gradient.into_iter().enumerate() {
            let planes = self.input[index]
                .chunks(self.plane)
                .zip(self.gradient[index].chunks(self.plane))
                .zip(input_gradient.chunks_mut(self.plane));
            for (at, ((input, gradient), input_gradient)) in planes.enumerate() {
                let channel = channels[at];
                let (weight_gradient, bias_gradient) = sums[at];
                let (normalized_mean, mean) = (
                    (weight_gradient / count) as f32,
                    (bias_gradient / count) as f32,
                );
                let scale = channel.parameters.scale * channel.normalization.scale;
                for ((input_gradient, x), gradient) in
                    input_gradient.iter_mut().zip(input).zip(gradient)
                {
                    let (normalized, delta) = channel.delta::<A>(*x, *gradient);
                    input_gradient.write(scale * (delta - mean - normalized * normalized_mean));
                }
            }
        }
        let parameter_gradients = sums.into_iter();
        parameter_gradients
            .map(|(weight_gradient, bias_gradient)| (weight_gradient as f32, bias_gradient as f32))
            .collect()
    }
}

/// The two maps that a channel's values go through before the activation.
#[derive(Clone, Copy)]
struct Channel {
    normalization: Affine,
    /// Weight and bias.
    parameters: Affine,
}

impl Channel {
    /// The normalized input x̂, and δ, the gradient with respect to the activation's input.
    #[inline(always)]
    fn delta<A: ScalarFunction>(self, x: f32, gradient: f32) -> (f32, f32) {
        let normalized = self.normalization.apply(x);
        (
            normalized,
            gradient * A::derivative(self.parameters.apply(normalized)),
        )
    }

    /// Σ δ x̂ and Σ δ over one plane.
    #[inline(always)]
    fn sums<A: ScalarFunction>(self, input: &[f32], gradient: &[f32]) -> (f32, f32) {
        let (mut weight_gradient, mut bias_gradient) = ([0.0f32; SUMS], [0.0f32; SUMS]);
        let (inputs, rest) = input.as_chunks::<SUMS>();
        let (gradients, rest_gradient) = gradient.as_chunks::<SUMS>();
        for (input, gradient) in inputs.iter().zip(gradients) {
            for at in 0..SUMS {
                let (normalized, delta) = self.delta::<A>(input[at], gradient[at]);
                weight_gradient[at] += delta * normalized;
                bias_gradient[at] += delta;
            }
        }
        for (at, (x, gradient)) in rest.iter().zip(rest_gradient).enumerate() {
            let (normalized, delta) = self.delta::<A>(*x, *gradient);
            weight_gradient[at] += delta * normalized;
            bias_gradient[at] += delta;
        }
        (total(&weight_gradient), total(&bias_gradient))
    }
}
