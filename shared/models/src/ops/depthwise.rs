//! Depthwise convolution: every channel by a filter of its own.
//!
//! Eight channels are interleaved, so that each step of the filter is one
//! multiplication of eight lanes whatever the width of the image, which is down to
//! four pixels in the last blocks.

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
    filled, images_a_part,
    simd::{Kernel, LANES, Lanes, accumulate, vectorized},
    sum, tensor, values,
};

/// Depthwise convolution on the CPU.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weight`: `[channels, 1, k, k]`, k = 3 or 5; the padding is k / 2
///
/// Gives `[batch, channels, ⌈height / stride⌉, ⌈width / stride⌉]`.
///
/// # Panics
/// For any other kernel than 3 × 3 and 5 × 5.
pub fn depthwise(input: Tensor<4>, weight: Tensor<4>, stride: usize) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as DepthwiseOps>::depthwise(
        input.into_dispatch(),
        weight.into_dispatch(),
        stride,
    ))
}

#[backend_extension(Autodiff, Flex)]
pub trait DepthwiseOps: Backend {
    fn depthwise(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;
}

impl DepthwiseOps for Flex {
    fn depthwise(input: FlexTensor, weight: FlexTensor, stride: usize) -> FlexTensor {
        let shape = Shape::of(&input, &weight, stride);
        let (input, weight) = (input.to_contiguous(), weight.to_contiguous());
        let output = match shape.kernel {
            3 => forward::<3>(&shape, values(&input), values(&weight)),
            5 => forward::<5>(&shape, values(&input), values(&weight)),
            other => panic!("no depthwise kernel of {other} × {other}"),
        };
        let [height, width] = shape.output;
        tensor(output, [shape.images, shape.channels, height, width])
    }
}

impl<C: CheckpointStrategy> DepthwiseOps for Autodiff<Flex, C> {
    fn depthwise(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        let prepared = Step
            .prepare::<C>([input.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (input, weight) = (input.into_primitive(), weight.into_primitive());
        let output = Flex::depthwise(input.clone(), weight.clone(), stride);
        match prepared {
            OpsKind::Tracked(step) => step.finish((input, weight, stride), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }
}

#[derive(Debug)]
struct Step;

impl Backward<Flex, 2> for Step {
    type State = (FlexTensor, FlexTensor, usize);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (input, weight, stride) = ops.state;
        let shape = Shape::of(&input, &weight, stride);
        let (input, weight) = (input.to_contiguous(), weight.to_contiguous());
        let (input, weight) = (values(&input), values(&weight));
        let (by_input, by_weight) = match shape.kernel {
            3 => backward::<3>(&shape, input, weight, values(&gradient)),
            _ => backward::<5>(&shape, input, weight, values(&gradient)),
        };
        let [of_input, of_weight] = ops.parents;
        if let Some(node) = of_input {
            let [height, width] = shape.input;
            let by_input = tensor(by_input, [shape.images, shape.channels, height, width]);
            gradients.register::<Flex>(node.id, by_input);
        }
        if let Some(node) = of_weight {
            let by_weight = tensor(by_weight, [shape.channels, 1, shape.kernel, shape.kernel]);
            gradients.register::<Flex>(node.id, by_weight);
        }
    }
}

/// Heights and widths are `[height, width]`.
#[derive(Clone, Copy)]
struct Shape {
    images: usize,
    channels: usize,
    input: [usize; 2],
    output: [usize; 2],
    kernel: usize,
    stride: usize,
}

impl Shape {
    fn of(input: &FlexTensor, weight: &FlexTensor, stride: usize) -> Self {
        let [images, channels, height, width] = input.shape().dims();
        let [filters, _, kernel, _] = weight.shape().dims();
        assert_eq!(channels, filters, "a filter for every channel");
        Self {
            images,
            channels,
            input: [height, width],
            output: [height.div_ceil(stride), width.div_ceil(stride)],
            kernel,
            stride,
        }
    }

    fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    fn pad(&self) -> usize {
        self.kernel / 2
    }

    /// Rows and columns of the input with its border of zeros.
    fn padded(&self) -> [usize; 2] {
        self.input.map(|side| side + 2 * self.pad())
    }

    fn padded_plane(&self) -> usize {
        self.padded()[0] * self.padded()[1]
    }

    /// The channels in groups of eight, the last may be smaller.
    fn groups(&self) -> usize {
        self.channels.div_ceil(LANES)
    }
}

fn forward<const K: usize>(shape: &Shape, input: &[f32], weight: &[f32]) -> Vec<f32> {
    let filters = interleaved_filters(weight, K);
    let fill = |output: &mut [MaybeUninit<f32>]| {
        output
            .par_chunks_mut(shape.channels * shape.output_plane())
            .zip(input.par_chunks(shape.channels * shape.input_plane()))
            .for_each_init(
                || {
                    let padded = vec![[0.0; LANES]; shape.padded_plane()];
                    let row = vec![[0.0; LANES]; shape.output[1]];
                    (padded, row)
                },
                |(padded, row), (output, input)| {
                    vectorized(Forward::<K> {
                        shape,
                        input,
                        filters: &filters,
                        padded,
                        row,
                        output,
                    });
                },
            );
    };
    // SAFETY: each image's kernel writes every row of every channel.
    unsafe { filled(shape.images * shape.channels * shape.output_plane(), fill) }
}

/// The convolution of one image.
struct Forward<'a, const K: usize> {
    shape: &'a Shape,
    input: &'a [f32],
    filters: &'a [Lanes],
    padded: &'a mut [Lanes],
    row: &'a mut [Lanes],
    output: &'a mut [MaybeUninit<f32>],
}

impl<const K: usize> Kernel for Forward<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        const AT_ONCE: usize = 4;
        let shape = self.shape;
        let [height, width] = shape.output;
        let (stride, columns) = (shape.stride, shape.padded()[1]);
        for group in 0..shape.groups() {
            let filter = &self.filters[group * K * K..][..K * K];
            pad(shape, self.input, group, self.padded);
            for y in 0..height {
                let rows = &self.padded[y * stride * columns..];
                let mut x = 0;
                while x + AT_ONCE <= width {
                    let at = &rows[x * stride..];
                    let sums = convolve::<K, AT_ONCE, FMA>(at, columns, stride, filter);
                    self.row[x..x + AT_ONCE].copy_from_slice(&sums);
                    x += AT_ONCE;
                }
                for x in x..width {
                    let at = &rows[x * stride..];
                    let [sum] = convolve::<K, 1, FMA>(at, columns, stride, filter);
                    self.row[x] = sum;
                }
                let plane = shape.output_plane();
                split(self.row, self.output, group, plane, y * width);
            }
        }
    }
}

/// `N` neighbours of one row of the output. `at` begins with what the first of
/// them sees first.
#[inline(always)]
fn convolve<const K: usize, const N: usize, const FMA: bool>(
    at: &[Lanes],
    columns: usize,
    stride: usize,
    filter: &[Lanes],
) -> [Lanes; N] {
    let mut sums = [[0.0; LANES]; N];
    for v in 0..K {
        let row = &at[v * columns..][..(N - 1) * stride + K];
        for u in 0..K {
            let weight = &filter[v * K + u];
            for (n, sum) in sums.iter_mut().enumerate() {
                accumulate::<FMA>(sum, &row[n * stride + u], weight);
            }
        }
    }
    sums
}

/// The gradients by the input and by the weight.
fn backward<const K: usize>(
    shape: &Shape,
    input: &[f32],
    weight: &[f32],
    gradient: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let filters = interleaved_filters(weight, K);
    let images = images_a_part(shape.images);
    let (of_input, of_output) = (
        images * shape.channels * shape.input_plane(),
        images * shape.channels * shape.output_plane(),
    );
    let mut by_filters = Vec::new();
    let fill = |by_input: &mut [MaybeUninit<f32>]| {
        by_filters = by_input
            .par_chunks_mut(of_input)
            .zip(input.par_chunks(of_input))
            .zip(gradient.par_chunks(of_output))
            .map(|((by_input, input), gradient)| {
                vectorized(BackwardPart::<K> {
                    shape,
                    input,
                    gradient,
                    filters: &filters,
                    by_input,
                })
            })
            .collect();
    };
    // SAFETY: each part's kernel writes every row of every channel of its images.
    let by_input = unsafe { filled(input.len(), fill) };
    let by_filters = sum(by_filters);
    (by_input, split_filters(&by_filters, shape.channels, K))
}

/// The gradients of some images; gives the one by the interleaved filters.
struct BackwardPart<'a, const K: usize> {
    shape: &'a Shape,
    input: &'a [f32],
    gradient: &'a [f32],
    filters: &'a [Lanes],
    by_input: &'a mut [MaybeUninit<f32>],
}

impl<const K: usize> Kernel for BackwardPart<'_, K> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let shape = self.shape;
        let (input_plane, output_plane) = (shape.input_plane(), shape.output_plane());
        let mut by_filters = vec![[0.0; LANES]; self.filters.len()];
        let mut padded = vec![[0.0; LANES]; shape.padded_plane()];
        let mut by_padded = padded.clone();
        let mut gradient = vec![[0.0; LANES]; output_plane];
        let images = self
            .input
            .chunks(shape.channels * input_plane)
            .zip(self.gradient.chunks(shape.channels * output_plane))
            .zip(self.by_input.chunks_mut(shape.channels * input_plane));
        for ((input, of_output), by_input) in images {
            for group in 0..shape.groups() {
                let filter = &self.filters[group * K * K..][..K * K];
                let by_filter = &mut by_filters[group * K * K..][..K * K];
                pad(shape, input, group, &mut padded);
                join(of_output, &mut gradient, group, output_plane, 0);
                correlate::<K, FMA>(shape, &padded, &gradient, by_filter);
                by_padded.fill([0.0; LANES]);
                spread::<K, FMA>(shape, &gradient, filter, &mut by_padded);
                for y in 0..shape.input[0] {
                    let row = (y + shape.pad()) * shape.padded()[1] + shape.pad();
                    let row = &by_padded[row..][..shape.input[1]];
                    split(row, by_input, group, input_plane, y * shape.input[1]);
                }
            }
        }
        by_filters.into_flattened()
    }
}

/// Adds the gradient by the filter: what each of its weights saw, times the
/// gradient of what came of it.
#[inline(always)]
fn correlate<const K: usize, const FMA: bool>(
    shape: &Shape,
    padded: &[Lanes],
    gradient: &[Lanes],
    by_filter: &mut [Lanes],
) {
    let width = shape.output[1];
    let (stride, columns) = (shape.stride, shape.padded()[1]);
    for v in 0..K {
        let mut sums = [[0.0; LANES]; K];
        for (y, gradient) in gradient.chunks_exact(width).enumerate() {
            let row = &padded[(y * stride + v) * columns..][..columns];
            for (x, gradient) in gradient.iter().enumerate() {
                let seen = &row[x * stride..][..K];
                for u in 0..K {
                    accumulate::<FMA>(&mut sums[u], &seen[u], gradient);
                }
            }
        }
        for u in 0..K {
            for lane in 0..LANES {
                by_filter[v * K + u][lane] += sums[u][lane];
            }
        }
    }
}

/// Adds the gradient by the padded input: each gradient of the output, spread by
/// the filter over what it came of.
#[inline(always)]
fn spread<const K: usize, const FMA: bool>(
    shape: &Shape,
    gradient: &[Lanes],
    filter: &[Lanes],
    by_padded: &mut [Lanes],
) {
    let width = shape.output[1];
    let (stride, columns) = (shape.stride, shape.padded()[1]);
    for (y, gradient) in gradient.chunks_exact(width).enumerate() {
        for v in 0..K {
            let weights: &[Lanes; K] = filter[v * K..].first_chunk().expect("a row of the filter");
            let row = &mut by_padded[(y * stride + v) * columns..][..columns];
            for (x, gradient) in gradient.iter().enumerate() {
                let came_of = &mut row[x * stride..][..K];
                for u in 0..K {
                    accumulate::<FMA>(&mut came_of[u], gradient, &weights[u]);
                }
            }
        }
    }
}

/// Interleaves a group's planes into the middle of `padded`; its border stays.
#[inline(always)]
fn pad(shape: &Shape, input: &[f32], group: usize, padded: &mut [Lanes]) {
    let (width, columns, pad) = (shape.input[1], shape.padded()[1], shape.pad());
    for y in 0..shape.input[0] {
        let row = &mut padded[(y + pad) * columns + pad..][..width];
        join(input, row, group, shape.input_plane(), y * width);
    }
}

/// Interleaves what lies at `offset` of each plane of a group of channels.
#[inline(always)]
fn join(planes: &[f32], joined: &mut [Lanes], group: usize, plane: usize, offset: usize) {
    let planes = &planes[group * LANES * plane..];
    let len = joined.len();
    if planes.len() >= LANES * plane {
        let lanes: [&[f32]; LANES] =
            std::array::from_fn(|lane| &planes[lane * plane + offset..][..len]);
        let (blocks, rest) = joined.as_chunks_mut::<LANES>();
        for (at, block) in blocks.iter_mut().enumerate() {
            let square: [Lanes; LANES] = std::array::from_fn(|lane| {
                *lanes[lane][at * LANES..]
                    .first_chunk()
                    .expect("within the row")
            });
            *block = std::array::from_fn(|x| std::array::from_fn(|lane| square[lane][x]));
        }
        for (x, joined) in (len - rest.len()..len).zip(rest) {
            *joined = std::array::from_fn(|lane| lanes[lane][x]);
        }
    } else {
        for (lane, plane) in planes.chunks(plane).enumerate() {
            for (joined, value) in joined.iter_mut().zip(&plane[offset..]) {
                joined[lane] = *value;
            }
        }
    }
}

/// The inverse of [`join`].
#[inline(always)]
fn split(
    joined: &[Lanes],
    planes: &mut [MaybeUninit<f32>],
    group: usize,
    plane: usize,
    offset: usize,
) {
    let planes = &mut planes[group * LANES * plane..];
    for (lane, plane) in planes.chunks_mut(plane).take(LANES).enumerate() {
        for (value, joined) in plane[offset..].iter_mut().zip(joined) {
            value.write(joined[lane]);
        }
    }
}

/// `[channels, 1, k, k]` as k × k lanes for each group of channels.
fn interleaved_filters(weight: &[f32], kernel: usize) -> Vec<Lanes> {
    let taps = kernel * kernel;
    let groups = weight.chunks(LANES * taps);
    let lanes = groups.flat_map(|group| {
        (0..taps).map(move |tap| {
            let mut lanes = [0.0; LANES];
            for (lane, filter) in lanes.iter_mut().zip(group.chunks(taps)) {
                *lane = filter[tap];
            }
            lanes
        })
    });
    lanes.collect()
}

/// The inverse of [`interleaved_filters`].
fn split_filters(lanes: &[f32], channels: usize, kernel: usize) -> Vec<f32> {
    let taps = kernel * kernel;
    let weights = (0..channels * taps).map(|at| {
        let (channel, tap) = (at / taps, at % taps);
        lanes[(channel / LANES * taps + tap) * LANES + channel % LANES]
    });
    weights.collect()
}
