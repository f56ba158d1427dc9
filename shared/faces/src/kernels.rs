//! The network's layers on the CPU. Each is one operation, on one thread.
//!
//! Both kinds of layers are computed in runs of sixteen neighbouring pixels. First a *column* of
//! sixteen values is made for each channel (a depthwise convolution) or for each value under the
//! filter (the stem). Then every filter adds up the columns, and its bias, the shortcut and ReLU
//! follow while the sums are in registers. The columns of a run stay in the first cache.

use std::cell::RefCell;

use burn::{
    backend::{
        Backend, Dispatch, Flex, TensorMetadata, backend_extension, flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::{Tensor, TensorData},
};
use maskline_models::ops::simd::{LANES, Lanes, SimdLoop, accumulate, vectorized};

/// The pixels of a run.
const RUN: usize = 2 * LANES;

/// The side of the stem's filters.
const STEM_SIDE: usize = 5;

/// The side of the depthwise filters.
const DEPTHWISE_SIDE: usize = 3;

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

/// Makes the columns of a run.
trait Columns {
    /// The side of the window that the columns are made of.
    const SIDE: usize;

    /// The number of columns.
    fn count(&self) -> usize;

    /// Writes eight values of each column: those from the column `x` on of the output's row `y`,
    /// at `half` of the run.
    fn fill<const FMA: bool>(
        &self,
        padded: &Padded,
        y: usize,
        x: usize,
        columns: &mut [[Lanes; 2]],
        half: usize,
    );
}

/// The stem's columns are the values under the filter.
struct Windows {
    channels: usize,
}

impl Columns for Windows {
    const SIDE: usize = STEM_SIDE;

    fn count(&self) -> usize {
        self.channels * Self::SIDE * Self::SIDE
    }

    #[inline(always)]
    fn fill<const FMA: bool>(
        &self,
        padded: &Padded,
        y: usize,
        x: usize,
        columns: &mut [[Lanes; 2]],
        half: usize,
    ) {
        let (windows, _) = columns.as_chunks_mut::<{ STEM_SIDE * STEM_SIDE }>();
        for (channel, window) in windows.iter_mut().enumerate() {
            for (at, column) in window.iter_mut().enumerate() {
                let (v, u) = (at / Self::SIDE, at % Self::SIDE);
                column[half] = *padded.lanes(channel, y, x, v, u);
            }
        }
    }
}

/// A block's columns are the channels after the depthwise convolution.
struct Depthwise<'a> {
    weights: &'a [[f32; DEPTHWISE_SIDE * DEPTHWISE_SIDE]],
    bias: &'a [f32],
}

impl Columns for Depthwise<'_> {
    const SIDE: usize = DEPTHWISE_SIDE;

    fn count(&self) -> usize {
        self.weights.len()
    }

    #[inline(always)]
    fn fill<const FMA: bool>(
        &self,
        padded: &Padded,
        y: usize,
        x: usize,
        columns: &mut [[Lanes; 2]],
        half: usize,
    ) {
        let channels = self.weights.iter().zip(self.bias).zip(columns);
        for (channel, ((weights, &bias), column)) in channels.enumerate() {
            let mut sum = [bias; LANES];
            let (rows, _) = weights.as_chunks::<{ DEPTHWISE_SIDE }>();
            for (v, weights) in rows.iter().enumerate() {
                let values = padded.row_of_three(channel, y, x, v);
                for (values, &weight) in values.iter().zip(weights) {
                    accumulate::<FMA>(&mut sum, values, &[weight; LANES]);
                }
            }
            column[half] = sum;
        }
    }
}

/// The filters that add up columns.
struct Filters<'a> {
    /// `[filters, columns]`
    weight: &'a [f32],
    /// `[filters]`
    bias: &'a [f32],
    has_shortcut: bool,
}

/// The planes of an image with zeros around them. The columns of each row are sorted by their
/// remainder of the stride, so that the values under neighbouring filters are neighbours.
struct Padded<'a> {
    values: &'a [f32],
    stride: usize,
    /// The length of the columns of one remainder.
    phase: usize,
    rows: usize,
}

impl Padded<'_> {
    /// The values under the filters at (`u`, `v`) for eight neighbouring pixels of the output, the
    /// first of them at (`x`, `y`).
    #[inline(always)]
    fn lanes(&self, channel: usize, y: usize, x: usize, v: usize, u: usize) -> &Lanes {
        let row = channel * self.rows + y * self.stride + v;
        let phase = row * self.stride + u % self.stride;
        let start = phase * self.phase + x + u / self.stride;
        lanes(&self.values[start..], 0)
    }

    /// The same for the three values `u` of a row of a depthwise filter.
    #[inline(always)]
    fn row_of_three(&self, channel: usize, y: usize, x: usize, v: usize) -> [&Lanes; 3] {
        let row = channel * self.rows + y * self.stride + v;
        let values = &self.values[row * self.stride * self.phase + x..];
        if self.stride == 1 {
            // One check of the length for all three.
            let values = &values[..LANES + 2];
            return [lanes(values, 0), lanes(values, 1), lanes(values, 2)];
        }
        let odd = lanes(&values[self.phase..], 0);
        [lanes(values, 0), odd, lanes(values, 1)]
    }
}

/// Eight values from `start` on.
#[inline(always)]
fn lanes(values: &[f32], start: usize) -> &Lanes {
    let lanes = values[start..].first_chunk();
    lanes.expect("a row with its border")
}

/// The sizes of a layer.
#[derive(Clone, Copy)]
struct Sizes {
    channels: usize,
    /// `[height, width]` of the input.
    input: [usize; 2],
    stride: usize,
    /// The side of the window.
    side: usize,
}

impl Sizes {
    fn output(&self) -> [usize; 2] {
        self.input.map(|side| side / self.stride)
    }

    /// The zeros before each row and column, as TensorFlow's `SAME` has them: the odd one comes at
    /// the end.
    fn before(&self) -> usize {
        (self.side - self.stride) / 2
    }

    /// The rows of a padded plane.
    fn rows(&self) -> usize {
        self.input[0] + self.side - self.stride
    }

    /// The columns of each remainder of the stride in a padded plane.
    fn phase(&self) -> usize {
        (self.input[1] + self.side - self.stride).div_ceil(self.stride)
    }

    fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_plane(&self) -> usize {
        self.output()[0] * self.output()[1]
    }
}

/// The memory of a thread's layers, which each layer takes over from the one before. New memory
/// comes from the system page by page, which would cost a third of the time.
#[derive(Default)]
struct Buffers {
    /// What was the input of the layer before.
    output: Vec<f32>,
    padded: Vec<f32>,
    pooled: Vec<f32>,
    columns: Vec<[Lanes; 2]>,
}

fn layer<C: Columns>(
    input: FlexTensor,
    stride: usize,
    columns: &C,
    filters: &Filters,
) -> FlexTensor {
    thread_local! {
        static BUFFERS: RefCell<Buffers> = RefCell::default();
    }
    let [images, channels, height, width] = input.shape().dims();
    let sizes = Sizes {
        channels,
        input: [height, width],
        stride,
        side: C::SIDE,
    };
    let [rows, row] = sizes.output();
    assert!(
        row.is_multiple_of(LANES) && (rows * row).is_multiple_of(RUN),
        "an output of {rows} × {row} pixels is not made of whole runs"
    );
    let image = filters.bias.len() * rows * row;
    let output = BUFFERS.with_borrow_mut(|buffers| {
        let mut output = std::mem::take(&mut buffers.output);
        // Every value is written below.
        output.resize(images * image, 0.0);
        let inputs = input.storage::<f32>();
        let inputs = inputs.chunks_exact(channels * sizes.input_plane());
        for (input, output) in inputs.zip(output.chunks_exact_mut(image)) {
            vectorized(Image {
                sizes,
                columns,
                filters,
                input,
                output,
                buffers,
            });
        }
        if input.is_unique() {
            buffers.output = input.into_data().try_into_vec().unwrap_or_default();
        }
        output
    });
    let shape = [images, filters.bias.len(), rows, row];
    FlexTensor::from_data(TensorData::new(output, shape))
}

/// The computation of a layer for one image.
struct Image<'a, C> {
    sizes: Sizes,
    columns: &'a C,
    filters: &'a Filters<'a>,
    input: &'a [f32],
    output: &'a mut [f32],
    buffers: &'a mut Buffers,
}

impl<C: Columns> SimdLoop for Image<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self {
            sizes,
            columns,
            filters,
            input,
            output,
            buffers,
        } = self;
        pad(&sizes, input, &mut buffers.padded);
        let shortcut = match (filters.has_shortcut, sizes.stride) {
            (false, _) => &[][..],
            (true, 1) => input,
            (true, _) => {
                pool(&sizes, input, &mut buffers.pooled);
                &buffers.pooled
            }
        };
        let padded = Padded {
            values: &buffers.padded,
            stride: sizes.stride,
            phase: sizes.phase(),
            rows: sizes.rows(),
        };
        let count = columns.count();
        buffers.columns.clear();
        buffers.columns.resize(count, [[0.0; LANES]; 2]);
        let width = sizes.output()[1];
        for first in (0..sizes.output_plane()).step_by(RUN) {
            for half in 0..2 {
                let at = first + half * LANES;
                let (y, x) = (at / width, at % width);
                columns.fill::<FMA>(&padded, y, x, &mut buffers.columns, half);
            }
            let mut run = Run {
                filters,
                columns: &buffers.columns,
                shortcut,
                output,
                plane: sizes.output_plane(),
                first,
            };
            let all = filters.bias.len();
            let mut filter = 0;
            // Eight registers of sums keep both multipliers of today's processors busy.
            while filter + 4 <= all {
                run.add_up::<4, FMA>(filter);
                filter += 4;
            }
            while filter < all {
                run.add_up::<1, FMA>(filter);
                filter += 1;
            }
        }
    }
}

/// A run of sixteen pixels.
struct Run<'a> {
    filters: &'a Filters<'a>,
    columns: &'a [[Lanes; 2]],
    shortcut: &'a [f32],
    output: &'a mut [f32],
    /// The pixels of a plane of the output.
    plane: usize,
    /// The run's first pixel.
    first: usize,
}

impl Run<'_> {
    /// Computes the pixels of `N` filters.
    #[inline(always)]
    fn add_up<const N: usize, const FMA: bool>(&mut self, filter: usize) {
        let count = self.columns.len();
        let weights: [&[f32]; N] =
            std::array::from_fn(|n| &self.filters.weight[(filter + n) * count..][..count]);
        let mut sums: [[Lanes; 2]; N] =
            std::array::from_fn(|n| [[self.filters.bias[filter + n]; LANES]; 2]);
        for (at, column) in self.columns.iter().enumerate() {
            let weights: [f32; N] = std::array::from_fn(|n| weights[n][at]);
            let [first, second] = column;
            for n in 0..N {
                let weight = [weights[n]; LANES];
                accumulate::<FMA>(&mut sums[n][0], first, &weight);
                accumulate::<FMA>(&mut sums[n][1], second, &weight);
            }
        }
        for (n, mut sum) in sums.into_iter().enumerate() {
            let start = (filter + n) * self.plane + self.first;
            if let Some(shortcut) = self.shortcut.get(start..start + RUN) {
                let (shortcut, _) = shortcut.as_chunks::<LANES>();
                for (sum, shortcut) in sum.iter_mut().zip(shortcut) {
                    for lane in 0..LANES {
                        sum[lane] += shortcut[lane];
                    }
                }
            }
            let (output, _) = self.output[start..start + RUN].as_chunks_mut::<LANES>();
            for (output, sum) in output.iter_mut().zip(sum) {
                *output = sum.map(|value| value.max(0.0));
            }
        }
    }
}

/// Writes the planes of an image with zeros around them, as [`Padded`] has them.
#[inline(always)]
fn pad(sizes: &Sizes, input: &[f32], padded: &mut Vec<f32>) {
    let (rows, phase, stride, before) = (sizes.rows(), sizes.phase(), sizes.stride, sizes.before());
    let [height, width] = sizes.input;
    padded.clear();
    padded.resize(sizes.channels * rows * phase * stride, 0.0);
    let planes = padded.chunks_exact_mut(rows * phase * stride);
    for (plane, input) in planes.zip(input.chunks_exact(sizes.input_plane())) {
        let rows = plane.chunks_exact_mut(phase * stride);
        for (row, input) in rows
            .skip(before)
            .take(height)
            .zip(input.chunks_exact(width))
        {
            if stride == 1 {
                row[before..before + width].copy_from_slice(input);
                continue;
            }
            let (even, odd) = row.split_at_mut(phase);
            // The values that lie at odd columns of the picture if one zero comes before them.
            let (first, second) = if before.is_multiple_of(2) {
                (even, odd)
            } else {
                (odd, even)
            };
            let (first, second) = (
                &mut first[before / 2..][..width / 2],
                &mut second[before.div_ceil(2)..][..width / 2],
            );
            let (pairs, _) = input.as_chunks::<2>();
            for ((pair, first), second) in pairs.iter().zip(first).zip(second) {
                *first = pair[0];
                *second = pair[1];
            }
        }
    }
}

/// Writes the largest of each two by two values.
#[inline(always)]
fn pool(sizes: &Sizes, input: &[f32], pooled: &mut Vec<f32>) {
    // Every value is written below.
    pooled.resize(sizes.channels * sizes.output_plane(), 0.0);
    let width = sizes.input[1];
    for (rows, pooled) in input
        .chunks_exact(2 * width)
        .zip(pooled.chunks_exact_mut(width / 2))
    {
        let (above, below) = rows.split_at(width);
        let (above, _) = above.as_chunks::<2>();
        let (below, _) = below.as_chunks::<2>();
        for ((above, below), pooled) in above.iter().zip(below).zip(pooled) {
            *pooled = above[0].max(above[1]).max(below[0].max(below[1]));
        }
    }
}
