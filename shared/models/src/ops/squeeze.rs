//! Squeeze-and-excitation: each channel weighed by a small network of the means
//! of all channels. Hu et al., *Squeeze-and-Excitation Networks*, 2018.

use std::mem::MaybeUninit;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, TensorMetadata,
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
    activation::{Activation, Curve, Gate, with_activation, with_gate},
    filled,
    matrix::{Matrix, multiply_add},
    simd::{Kernel, vectorized},
    tensor, values,
};

/// The two layers of the small network.
pub struct Layers {
    /// `[squeezed, channels, 1, 1]` and `[squeezed]`
    pub reduce: (Tensor<4>, Tensor<1>),
    /// `[channels, squeezed, 1, 1]` and `[channels]`
    pub expand: (Tensor<4>, Tensor<1>),
    /// Between the two.
    pub activation: Activation,
    /// After the second.
    pub gate: Gate,
}

/// Squeeze-and-excitation on the CPU: `input`, and what comes out, are
/// `[batch, channels, height, width]`.
pub fn squeeze_excite(input: Tensor<4>, layers: Layers) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as SqueezeOps>::squeeze_excite(
        input.into_dispatch(),
        layers.reduce.0.into_dispatch(),
        layers.reduce.1.into_dispatch(),
        layers.expand.0.into_dispatch(),
        layers.expand.1.into_dispatch(),
        layers.activation,
        layers.gate,
    ))
}

#[backend_extension(Autodiff, Flex)]
pub trait SqueezeOps: Backend {
    fn squeeze_excite(
        input: FloatTensor<Self>,
        reduce_weight: FloatTensor<Self>,
        reduce_bias: FloatTensor<Self>,
        expand_weight: FloatTensor<Self>,
        expand_bias: FloatTensor<Self>,
        activation: Activation,
        gate: Gate,
    ) -> FloatTensor<Self>;
}

impl SqueezeOps for Flex {
    fn squeeze_excite(
        input: FlexTensor,
        reduce_weight: FlexTensor,
        reduce_bias: FlexTensor,
        expand_weight: FlexTensor,
        expand_bias: FlexTensor,
        activation: Activation,
        gate: Gate,
    ) -> FlexTensor {
        let layers = Primitives {
            reduce: (reduce_weight, reduce_bias),
            expand: (expand_weight, expand_bias),
            activation,
            gate,
        };
        forward(&input, &layers).0
    }
}

impl<C: CheckpointStrategy> SqueezeOps for Autodiff<Flex, C> {
    fn squeeze_excite(
        input: FloatTensor<Self>,
        reduce_weight: FloatTensor<Self>,
        reduce_bias: FloatTensor<Self>,
        expand_weight: FloatTensor<Self>,
        expand_bias: FloatTensor<Self>,
        activation: Activation,
        gate: Gate,
    ) -> FloatTensor<Self> {
        let nodes = [
            &input,
            &reduce_weight,
            &reduce_bias,
            &expand_weight,
            &expand_bias,
        ];
        let prepared = Step
            .prepare::<C>(nodes.map(|tensor| tensor.node()))
            .compute_bound()
            .stateful();
        let input = input.into_primitive();
        let layers = Primitives {
            reduce: (reduce_weight.into_primitive(), reduce_bias.into_primitive()),
            expand: (expand_weight.into_primitive(), expand_bias.into_primitive()),
            activation,
            gate,
        };
        let (output, between) = forward(&input, &layers);
        match prepared {
            OpsKind::Tracked(step) => {
                let state = State {
                    input,
                    layers,
                    between,
                };
                step.finish(state, output)
            }
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }
}

#[derive(Debug, Clone)]
struct Primitives {
    reduce: (FlexTensor, FlexTensor),
    expand: (FlexTensor, FlexTensor),
    activation: Activation,
    gate: Gate,
}

#[derive(Debug)]
struct Step;

#[derive(Debug, Clone)]
struct State {
    input: FlexTensor,
    layers: Primitives,
    between: Between,
}

impl Backward<Flex, 5> for Step {
    type State = State;

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let by = backward(&ops.state, &gradient);
        for (node, gradient) in ops.parents.into_iter().zip(by) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// What the gradients need of the small network.
#[derive(Debug, Clone)]
struct Between {
    /// `[images, channels]`
    means: Vec<f32>,
    /// `[images, squeezed]`, before the activation
    squeezed: Vec<f32>,
    /// `[images, channels]`, before the gate
    excited: Vec<f32>,
}

struct Sizes {
    images: usize,
    channels: usize,
    squeezed: usize,
    plane: usize,
}

impl Sizes {
    fn of(input: &FlexTensor, layers: &Primitives) -> Self {
        let [images, channels, height, width] = input.shape().dims();
        let [squeezed, _, _, _] = layers.reduce.0.shape().dims();
        Self {
            images,
            channels,
            squeezed,
            plane: height * width,
        }
    }
}

fn forward(input: &FlexTensor, layers: &Primitives) -> (FlexTensor, Between) {
    let contiguous = input.to_contiguous();
    let image = values(&contiguous);
    let sizes = Sizes::of(input, layers);
    let Sizes {
        images,
        channels,
        squeezed,
        plane,
    } = sizes;
    let means = by_plane(image, None, plane, 1.0 / plane as f32);
    let reduce = layers.reduce.0.to_contiguous();
    let reduce = Matrix::new(values(&reduce), squeezed, channels);
    let squeezed_values = linear(&means, reduce, values(&layers.reduce.1), images);
    let activated = map_activation(&squeezed_values, layers.activation);
    let expand = layers.expand.0.to_contiguous();
    let expand = Matrix::new(values(&expand), channels, squeezed);
    let excited = linear(&activated, expand, values(&layers.expand.1), images);
    let gates: Vec<f32> =
        with_gate!(layers.gate, G => excited.iter().map(|z| G::value(*z)).collect());
    let fill = |output: &mut [MaybeUninit<f32>]| {
        output
            .par_chunks_mut(plane)
            .zip(image.par_chunks(plane))
            .zip(&gates)
            .with_min_len(channels)
            .for_each(|((output, input), gate)| {
                for (output, x) in output.iter_mut().zip(input) {
                    output.write(x * gate);
                }
            });
    };
    // SAFETY: every plane is written whole.
    let output = unsafe { filled(image.len(), fill) };
    let between = Between {
        means,
        squeezed: squeezed_values,
        excited,
    };
    (tensor::<4>(output, input.shape().dims()), between)
}

/// The gradients by the input, and by weight and bias of the two layers.
fn backward(state: &State, gradient: &FlexTensor) -> [FlexTensor; 5] {
    let State {
        input,
        layers,
        between,
    } = state;
    let contiguous = input.to_contiguous();
    let Sizes {
        images,
        channels,
        squeezed,
        plane,
    } = Sizes::of(input, layers);

    let mut by_excited = by_plane(values(gradient), Some(values(&contiguous)), plane, 1.0);
    with_gate!(layers.gate, G => scale_by_slope::<G>(&mut by_excited, &between.excited));
    let activated = map_activation(&between.squeezed, layers.activation);
    let (by_expand, by_expand_bias) = by_layer(&by_excited, &activated, images);

    let expand = layers.expand.0.to_contiguous();
    let mut by_squeezed = vec![0.0; images * squeezed];
    multiply_add(
        &mut by_squeezed,
        Matrix::new(&by_excited, images, channels),
        Matrix::new(values(&expand), channels, squeezed),
    );
    with_activation!(
        layers.activation,
        A => scale_by_slope::<A>(&mut by_squeezed, &between.squeezed)
    );
    let (by_reduce, by_reduce_bias) = by_layer(&by_squeezed, &between.means, images);

    let reduce = layers.reduce.0.to_contiguous();
    let mut by_means = vec![0.0; images * channels];
    multiply_add(
        &mut by_means,
        Matrix::new(&by_squeezed, images, squeezed),
        Matrix::new(values(&reduce), squeezed, channels),
    );

    let gates: Vec<f32> =
        with_gate!(layers.gate, G => between.excited.iter().map(|z| G::value(*z)).collect());
    let share = 1.0 / plane as f32;
    let fill = |by_input: &mut [MaybeUninit<f32>]| {
        by_input
            .par_chunks_mut(plane)
            .zip(values(gradient).par_chunks(plane))
            .zip(gates.par_iter().zip(&by_means))
            .with_min_len(channels)
            .for_each(|((by_input, gradient), (gate, by_mean))| {
                let by_each = by_mean * share;
                for (by_input, gradient) in by_input.iter_mut().zip(gradient) {
                    by_input.write(gradient * gate + by_each);
                }
            });
    };
    // SAFETY: every plane is written whole.
    let by_input = unsafe { filled(values(&contiguous).len(), fill) };
    [
        tensor::<4>(by_input, input.shape().dims()),
        tensor(by_reduce, [squeezed, channels, 1, 1]),
        tensor(by_reduce_bias, [squeezed]),
        tensor(by_expand, [channels, squeezed, 1, 1]),
        tensor(by_expand_bias, [channels]),
    ]
}

/// `input · weightᵀ + bias` for each image.
fn linear(input: &[f32], weight: Matrix, bias: &[f32], images: usize) -> Vec<f32> {
    let mut output = bias.repeat(images);
    let input = Matrix::new(input, images, input.len() / images);
    multiply_add(&mut output, input, weight.transposed());
    output
}

/// The gradients by a layer's weight and bias: the gradient by what it gives, and
/// what it was given.
fn by_layer(gradient: &[f32], input: &[f32], images: usize) -> (Vec<f32>, Vec<f32>) {
    let (to, from) = (gradient.len() / images, input.len() / images);
    let mut by_weight = vec![0.0; to * from];
    let input = Matrix::new(input, images, from);
    let by_output = Matrix::new(gradient, images, to);
    multiply_add(&mut by_weight, by_output.transposed(), input);
    let mut by_bias = vec![0.0; to];
    for gradient in gradient.chunks(to) {
        for (by_bias, gradient) in by_bias.iter_mut().zip(gradient) {
            *by_bias += gradient;
        }
    }
    (by_weight, by_bias)
}

fn map_activation(values: &[f32], activation: Activation) -> Vec<f32> {
    with_activation!(activation, A => values.iter().map(|z| A::value(*z)).collect())
}

fn scale_by_slope<C: Curve>(gradient: &mut [f32], at: &[f32]) {
    for (gradient, z) in gradient.iter_mut().zip(at) {
        *gradient *= C::slope(*z);
    }
}

/// For each plane the sum of its values, or of its products with another's, scaled.
fn by_plane(batch: &[f32], times: Option<&[f32]>, plane: usize, scale: f32) -> Vec<f32> {
    let planes = batch.par_chunks(plane).enumerate();
    let planes = planes.with_min_len(4096usize.div_ceil(plane));
    planes
        .map(|(at, values)| {
            let times = times.map(|times| &times[at * plane..][..plane]);
            scale * vectorized(Sum { values, times })
        })
        .collect()
}

struct Sum<'a> {
    values: &'a [f32],
    times: Option<&'a [f32]>,
}

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        const SUMS: usize = 16;
        let mut sums = [0.0f32; SUMS];
        let (chunks, rest) = self.values.as_chunks::<SUMS>();
        match self.times {
            None => {
                for chunk in chunks {
                    for at in 0..SUMS {
                        sums[at] += chunk[at];
                    }
                }
                for (sum, x) in sums.iter_mut().zip(rest) {
                    *sum += x;
                }
            }
            Some(times) => {
                let (others, rest_others) = times.as_chunks::<SUMS>();
                for (chunk, other) in chunks.iter().zip(others) {
                    for at in 0..SUMS {
                        sums[at] += chunk[at] * other[at];
                    }
                }
                for ((sum, x), other) in sums.iter_mut().zip(rest).zip(rest_others) {
                    *sum += x * other;
                }
            }
        }
        sums.iter().sum()
    }
}
