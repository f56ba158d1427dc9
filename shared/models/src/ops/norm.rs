//! Batch norm, the activation that follows it and the block's shortcut, as one
//! operation that reads its input twice and writes once.
//!
//! Ioffe and Szegedy, *Batch Normalization*, 2015.

use std::{marker::PhantomData, mem::MaybeUninit, sync::Arc};

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, ExtensionType, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};
use rayon::prelude::*;

use super::{
    activation::{Activation, Curve, with_activation},
    filled,
    simd::{Kernel, vectorized},
    tensor, values,
};

/// Accumulators of a sum, so that its additions need not wait for each other.
const SUMS: usize = 32;

/// Values of one image that make it worth to visit it: small planes are taken
/// several channels at a time.
const VALUES: usize = 512;

/// What [`batch_norm`] gives.
pub struct Normalized {
    /// Of the input's shape.
    pub output: Tensor<4>,
    /// The batch's mean by channel, without a gradient.
    pub mean: Tensor<1>,
    /// The batch's unbiased variance by channel, without a gradient.
    pub variance: Tensor<1>,
}

/// `activation(norm(input) · weight + bias) + shortcut` on the CPU, with the mean
/// and variance of the batch.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weight`, `bias`: `[channels]`
/// * `shortcut`: of the input's shape
pub fn batch_norm(
    input: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    shortcut: Option<Tensor<4>>,
    epsilon: f64,
    activation: Activation,
) -> Normalized {
    let (output, mean, variance) = <Dispatch as BatchNormOps>::batch_norm(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        Shortcut::new(shortcut.map(Tensor::into_dispatch)),
        epsilon,
        activation,
    );
    Normalized {
        output: Tensor::from_dispatch(output),
        mean: Tensor::from_dispatch(mean),
        variance: Tensor::from_dispatch(variance),
    }
}

/// As [`batch_norm`], with a given mean and variance and without a gradient.
///
/// # Panics
/// On an autodiff device.
#[allow(clippy::too_many_arguments)]
pub fn fixed_norm(
    input: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    shortcut: Option<Tensor<4>>,
    epsilon: f64,
    activation: Activation,
) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as FixedNormOps>::fixed_norm(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        mean.into_dispatch(),
        variance.into_dispatch(),
        Shortcut::new(shortcut.map(Tensor::into_dispatch)),
        epsilon,
        activation,
    ))
}

/// What is added in the end: an `Option`, which an extension can't take.
#[derive(ExtensionType)]
pub enum Shortcut<B: Backend> {
    None,
    Of(FloatTensor<B>),
}

impl<B: Backend> Shortcut<B> {
    fn new(shortcut: Option<FloatTensor<B>>) -> Self {
        shortcut.map_or(Self::None, Self::Of)
    }

    fn tensor(self) -> Option<FloatTensor<B>> {
        match self {
            Self::None => None,
            Self::Of(tensor) => Some(tensor),
        }
    }
}

#[backend_extension(Autodiff, Flex)]
pub trait BatchNormOps: Backend {
    #[allow(clippy::type_complexity)]
    fn batch_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        #[extension_type] shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[backend_extension(Flex)]
pub trait FixedNormOps: Backend {
    #[allow(clippy::too_many_arguments)]
    fn fixed_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        #[extension_type] shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> FloatTensor<Self>;
}

impl BatchNormOps for Flex {
    fn batch_norm(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let shortcut = shortcut.tensor();
        let (output, statistics) = forward(&input, &weight, &bias, shortcut, epsilon, activation);
        let (mean, variance) = tensors(&statistics);
        (output, mean, variance)
    }
}

impl FixedNormOps for Flex {
    fn fixed_norm(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> FlexTensor {
        let [_, channels, height, width] = input.shape().dims();
        let plane = height * width;
        let lines: Vec<Line> = values(&weight)
            .iter()
            .zip(values(&bias))
            .zip(values(&mean).iter().zip(values(&variance)))
            .map(|((weight, bias), (mean, variance))| {
                let scale = f64::from(*weight) / (f64::from(*variance) + epsilon).sqrt();
                Line::new(scale, f64::from(*bias) - f64::from(*mean) * scale)
            })
            .collect();
        // In place where nobody else holds the input.
        let mut output = input.to_contiguous();
        drop(input);
        let shortcut = shortcut.tensor().map(|shortcut| shortcut.to_contiguous());
        let shortcut = shortcut.as_ref().map(values);
        let planes = output.storage_mut::<f32>().par_chunks_mut(plane);
        let planes = planes.enumerate().with_min_len(VALUES.div_ceil(plane));
        planes.for_each(|(at, values)| {
            let line = lines[at % channels];
            let shortcut = shortcut.map(|shortcut| &shortcut[at * plane..][..plane]);
            with_activation!(activation, A => vectorized(InPlace::<A> {
                values,
                line,
                shortcut,
                curve: PhantomData,
            }));
        });
        output
    }
}

impl<C: CheckpointStrategy> BatchNormOps for Autodiff<Flex, C> {
    fn batch_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        // Without a shortcut the fourth parent is a constant that nothing comes from.
        let none = || FloatTensor::<Self>::new(tensor(vec![0.0], [1]));
        let shortcut = shortcut.tensor();
        let has_shortcut = shortcut.is_some();
        let shortcut = shortcut.unwrap_or_else(none);
        let prepared = Step
            .prepare::<C>([input.node(), weight.node(), bias.node(), shortcut.node()])
            .compute_bound()
            .stateful();
        let (input, weight, bias) = (
            input.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
        );
        let shortcut = has_shortcut.then(|| shortcut.into_primitive());
        let (output, statistics) = forward(&input, &weight, &bias, shortcut, epsilon, activation);
        let (mean, variance) = tensors(&statistics);
        let output = match prepared {
            OpsKind::Tracked(step) => {
                let state = State {
                    input,
                    weight,
                    bias,
                    statistics: statistics.into(),
                    activation,
                };
                step.finish(state, output)
            }
            OpsKind::UnTracked(step) => step.finish(output),
        };
        let constant = FloatTensor::<Self>::new;
        (output, constant(mean), constant(variance))
    }
}

#[derive(Debug)]
struct Step;

#[derive(Debug, Clone)]
struct State {
    input: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    statistics: Arc<[Statistics]>,
    activation: Activation,
}

impl Backward<Flex, 4> for Step {
    type State = State;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [of_input, of_weight, of_bias, of_shortcut] = ops.parents;
        let (by_input, by_weight, by_bias) = backward(&ops.state, &gradient);
        if let Some(node) = of_shortcut {
            gradients.register::<Flex>(node.id, gradient);
        }
        for (node, gradient) in [
            (of_input, by_input),
            (of_weight, by_weight),
            (of_bias, by_bias),
        ] {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// Of one channel over a batch.
#[derive(Debug, Clone, Copy)]
struct Statistics {
    mean: f32,
    /// 1 / √(variance + ε), of the biased variance: what normalizes.
    inverse_deviation: f32,
    /// What the running variance learns from.
    unbiased_variance: f32,
}

fn tensors(statistics: &[Statistics]) -> (FlexTensor, FlexTensor) {
    let mean: Vec<f32> = statistics.iter().map(|of| of.mean).collect();
    let variance: Vec<f32> = statistics.iter().map(|of| of.unbiased_variance).collect();
    let channels = [statistics.len()];
    (tensor(mean, channels), tensor(variance, channels))
}

/// `scale · x + offset`
#[derive(Clone, Copy)]
struct Line {
    scale: f32,
    offset: f32,
}

impl Line {
    fn new(scale: f64, offset: f64) -> Self {
        Self {
            scale: scale as f32,
            offset: offset as f32,
        }
    }

    #[inline(always)]
    fn at(self, x: f32) -> f32 {
        x * self.scale + self.offset
    }
}

/// A batch's layout, and its channels in blocks that threads share out.
struct Layout {
    channels: usize,
    plane: usize,
    /// Channels of a block; the last may have less.
    block: usize,
}

impl Layout {
    fn of(input: &FlexTensor) -> Self {
        let [_, channels, height, width] = input.shape().dims();
        let plane = height * width;
        Self {
            channels,
            plane,
            block: VALUES.div_ceil(plane).min(channels),
        }
    }

    fn blocks(&self) -> usize {
        self.channels.div_ceil(self.block)
    }

    /// For each block, its part of every image.
    fn split<'a>(&self, batch: &'a [f32]) -> Vec<Vec<&'a [f32]>> {
        let mut blocks = vec![Vec::new(); self.blocks()];
        for image in batch.chunks(self.channels * self.plane) {
            for (block, part) in blocks.iter_mut().zip(image.chunks(self.block * self.plane)) {
                block.push(part);
            }
        }
        blocks
    }

    fn split_mut<'a>(
        &self,
        batch: &'a mut [MaybeUninit<f32>],
    ) -> Vec<Vec<&'a mut [MaybeUninit<f32>]>> {
        let mut blocks: Vec<Vec<_>> = (0..self.blocks()).map(|_| Vec::new()).collect();
        for image in batch.chunks_mut(self.channels * self.plane) {
            let parts = image.chunks_mut(self.block * self.plane);
            for (block, part) in blocks.iter_mut().zip(parts) {
                block.push(part);
            }
        }
        blocks
    }
}

fn forward(
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
                    curve: PhantomData,
                }))
            })
            .collect();
    };
    // SAFETY: each block's kernel writes its part of every image.
    let output = unsafe { filled(values(&contiguous).len(), fill) };
    let output = tensor::<4>(output, input.shape().dims());
    (output, statistics.concat())
}

/// A block of channels over all images.
struct Forward<'a, A> {
    plane: usize,
    input: &'a [&'a [f32]],
    shortcut: Option<&'a [&'a [f32]]>,
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f64,
    output: Vec<&'a mut [MaybeUninit<f32>]>,
    curve: PhantomData<A>,
}

impl<A: Curve> Kernel for Forward<'_, A> {
    type Output = Vec<Statistics>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<Statistics> {
        let count = (self.input.len() * self.plane) as f64;
        // Sums of squares lose no digits if taken about a value near the mean: that
        // of the first image.
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
        let mut lines = Vec::with_capacity(sums.len());
        for (channel, (sum, squares)) in sums.into_iter().enumerate() {
            let (shift, square) = (sum / count, squares / count);
            let mean = f64::from(about[channel]) + shift;
            let variance = (square - shift * shift).max(0.0);
            let inverse = 1.0 / (variance + self.epsilon).sqrt();
            let scale = f64::from(self.weight[channel]) * inverse;
            lines.push(Line::new(
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
                let line = lines[channel];
                match self.shortcut {
                    None => {
                        for (output, x) in output.iter_mut().zip(input) {
                            output.write(A::value(line.at(*x)));
                        }
                    }
                    Some(shortcut) => {
                        let shortcut = &shortcut[index][channel * self.plane..];
                        for ((output, x), shortcut) in output.iter_mut().zip(input).zip(shortcut) {
                            output.write(A::value(line.at(*x)) + shortcut);
                        }
                    }
                }
            }
        }
        statistics
    }
}

/// The sums of x − about and of its squares.
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

/// By halves, which rounds less than one after the other.
#[inline(always)]
fn total(sums: &[f32; SUMS]) -> f32 {
    let mut sums = *sums;
    let mut half = SUMS / 2;
    while half > 0 {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
        half /= 2;
    }
    sums[0]
}

/// One plane, with a given line.
struct InPlace<'a, A> {
    values: &'a mut [f32],
    line: Line,
    shortcut: Option<&'a [f32]>,
    curve: PhantomData<A>,
}

impl<A: Curve> Kernel for InPlace<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for value in self.values.iter_mut() {
            *value = A::value(self.line.at(*value));
        }
        for (value, shortcut) in self.values.iter_mut().zip(self.shortcut.unwrap_or(&[])) {
            *value += shortcut;
        }
    }
}

/// The gradients by input, weight and bias.
fn backward(state: &State, gradient: &FlexTensor) -> (FlexTensor, FlexTensor, FlexTensor) {
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
