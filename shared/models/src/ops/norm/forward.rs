//! The forward pass: with the batch's statistics, or with given ones.

use std::marker::PhantomData;

use super::{
    layout::{Affine, Layout, SUMS, VALUES, total},
    statistics::Statistics,
};
use crate::ops::{
    activation::{Activation, ScalarFunction, with_activation},
    prelude::*,
    simd::{SimdLoop, vectorized},
};

/// `activation(norm(input) · weight + bias) + shortcut`, and the batch's statistics by
/// channel.
pub fn forward(
    input: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    shortcut: Option<FlexTensor>,
    epsilon: f64,
    activation: Activation,
) -> (FlexTensor, Vec<Statistics>) {
    let layout = Layout::of(input);
    let contiguous = input.to_contiguous();
    let shortcut = shortcut.map(|shortcut| shortcut.to_contiguous());
    let inputs = layout.split(values(&contiguous));
    let shortcuts = shortcut
        .as_ref()
        .map(|shortcut| layout.split(values(shortcut)));
    let weights: Vec<&[f32]> = values(weight).chunks(layout.block).collect();
    let biases: Vec<&[f32]> = values(bias).chunks(layout.block).collect();
    let mut statistics: Vec<Vec<Statistics>> = Vec::new();
    let fill = |output: &mut [MaybeUninit<f32>]| {
        let outputs = layout.split_mut(output);
        statistics = outputs
            .into_par_iter()
            .enumerate()
            .map(|(block, output)| {
                with_activation!(activation, A => vectorized(Forward::<A> {
                    plane: layout.plane,
                    input: &inputs[block],
                    shortcut: shortcuts.as_ref().map(|shortcuts| &shortcuts[block][..]),
                    weight: weights[block],
                    bias: biases[block],
                    epsilon,
                    output,
                    function: PhantomData,
                }))
            })
            .collect();
    };
    // SAFETY: each block's loop writes its part of every image.
    let output = unsafe { filled(values(&contiguous).len(), fill) };
    let output = tensor::<4>(output, input.shape().dims());
    (output, statistics.concat())
}

/// The forward pass of a block of channels over all images.
struct Forward<'a, A> {
    plane: usize,
    input: &'a [&'a [f32]],
    shortcut: Option<&'a [&'a [f32]]>,
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f64,
    output: Vec<&'a mut [MaybeUninit<f32>]>,
    function: PhantomData<A>,
}

impl<A: ScalarFunction> SimdLoop for Forward<'_, A> {
    type Output = Vec<Statistics>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<Statistics> {
        let count = (self.input.len() * self.plane) as f64;
        // Sums of squares lose no digits if a value near the mean is subtracted first.
        // The mean of the first image is such a value.
        let about: Vec<f32> = self.input[0]
            .chunks(self.plane)
            .map(|plane| moments(plane, 0.0).0 / self.plane as f32)
            .collect();
        let mut sums = vec![(0.0f64, 0.0f64); self.weight.len()];
        for image in self.input {
            for (channel, plane) in image.chunks(self.plane).enumerate() {
                let (sum, squares) = moments(plane, about[channel]);
                sums[channel].0 += f64::from(sum);
                sums[channel].1 += f64::from(squares);
            }
        }
        let mut statistics = Vec::with_capacity(sums.len());
        let mut maps = Vec::with_capacity(sums.len());
        for (channel, (sum, squares)) in sums.into_iter().enumerate() {
            let (shift, square) = (sum / count, squares / count);
            let mean = f64::from(about[channel]) + shift;
            let variance = (square - shift * shift).max(0.0);
            let inverse = 1.0 / (variance + self.epsilon).sqrt();
            let scale = f64::from(self.weight[channel]) * inverse;
            maps.push(Affine::new(
                scale,
                f64::from(self.bias[channel]) - mean * scale,
            ));
            statistics.push(Statistics {
                mean: mean as f32,
                inverse_deviation: inverse as f32,
                unbiased_variance: (variance * count / (count - 1.0).max(1.0)) as f32,
            });
        }
        for (index, output) in self.output.into_iter().enumerate() {
            let planes = self.input[index]
                .chunks(self.plane)
                .zip(output.chunks_mut(self.plane));
            for (channel, (input, output)) in planes.enumerate() {
                let map = maps[channel];
                match self.shortcut {
                    None => {
                        for (output, x) in output.iter_mut().zip(input) {
                            output.write(A::value(map.apply(*x)));
                        }
                    }
                    Some(shortcut) => {
                        let shortcut = &shortcut[index][channel * self.plane..];
                        for ((output, x), shortcut) in output.iter_mut().zip(input).zip(shortcut) {
                            output.write(A::value(map.apply(*x)) + shortcut);
                        }
                    }
                }
            }
        }
        statistics
    }
}

/// The sum of x − about, and the sum of its squares.
#[inline(always)]
fn moments(values: &[f32], about: f32) -> (f32, f32) {
    let (mut sums, mut squares) = ([0.0f32; SUMS], [0.0f32; SUMS]);
    let (chunks, rest) = values.as_chunks::<SUMS>();
    for chunk in chunks {
        for at in 0..SUMS {
            let x = chunk[at] - about;
            sums[at] += x;
            squares[at] += x * x;
        }
    }
    for (at, x) in rest.iter().enumerate() {
        let x = x - about;
        sums[at] += x;
        squares[at] += x * x;
    }
    (total(&sums), total(&squares))
}

/// Computes the same as [`forward`] with a given mean and variance. It works in place if
/// nothing else refers to the input.
#[allow(clippy::too_many_arguments)]
pub fn fixed(
    input: FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    mean: &FlexTensor,
    variance: &FlexTensor,
    shortcut: Option<FlexTensor>,
    epsilon: f64,
    activation: Activation,
) -> FlexTensor {
    let [_, channels, height, width] = input.shape().dims();
    let plane = height * width;
    let maps: Vec<Affine> = values(weight)
        .iter()
        .zip(values(bias))
        .zip(values(mean).iter().zip(values(variance)))
        .map(|((weight, bias), (mean, variance))| {
            let scale = f64::from(*weight) / (f64::from(*variance) + epsilon).sqrt();
            Affine::new(scale, f64::from(*bias) - f64::from(*mean) * scale)
        })
        .collect();
    let mut output = input.to_contiguous();
    drop(input);
    let shortcut = shortcut.map(|shortcut| shortcut.to_contiguous());
    let shortcut = shortcut.as_ref().map(values);
    let planes = output.storage_mut::<f32>().par_chunks_mut(plane);
    let planes = planes.enumerate().with_min_len(VALUES.div_ceil(plane));
    planes.for_each(|(at, values)| {
        let map = maps[at % channels];
        let shortcut = shortcut.map(|shortcut| &shortcut[at * plane..][..plane]);
        with_activation!(activation, A => vectorized(InPlace::<A> {
            values,
            map,
            shortcut,
            function: PhantomData,
        }));
    });
    output
}

/// One plane, whose norm is a given map.
struct InPlace<'a, A> {
    values: &'a mut [f32],
    map: Affine,
    shortcut: Option<&'a [f32]>,
    function: PhantomData<A>,
}

impl<A: ScalarFunction> SimdLoop for InPlace<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for value in self.values.iter_mut() {
            *value = A::value(self.map.apply(*value));
        }
        for (value, shortcut) in self.values.iter_mut().zip(self.shortcut.unwrap_or(&[])) {
            *value += shortcut;
        }
    }
}
