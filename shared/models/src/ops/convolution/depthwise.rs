//! Depthwise convolution: every channel by a filter of its own.
//!
//! Eight channels are interleaved, so that each step of the filter is one
//! multiplication of eight lanes. That fills a register whatever the width of the
//! image, which is down to four pixels in the last blocks.

use super::geometry::{Geometry, Padding};
use crate::ops::{
    prelude::*,
    simd::{LANES, Lanes, SimdLoop, accumulate, vectorized},
};

/// Convolves `input`, `[batch, channels, height, width]`, by `weight`,
/// `[channels, 1, k, k]`.
///
/// # Panics
/// Panics for any other filter than 3 × 3 and 5 × 5.
pub fn forward(
    input: &FlexTensor,
    weight: &FlexTensor,
    stride: usize,
    padding: Padding,
) -> FlexTensor {
    let geometry = geometry(input, weight, stride, padding);
    let (input, weight) = (input.to_contiguous(), weight.to_contiguous());
    let output = match geometry.kernel {
        3 => convolve::<3>(&geometry, values(&input), values(&weight)),
        5 => convolve::<5>(&geometry, values(&input), values(&weight)),
        other => panic!("no depthwise kernel of {other} × {other}"),
    };
    geometry.output_tensor(output)
}

/// The gradients with respect to the input and to the weight.
pub fn gradients(
    input: &FlexTensor,
    weight: &FlexTensor,
    stride: usize,
    padding: Padding,
    gradient: &FlexTensor,
) -> [FlexTensor; 2] {
    let geometry = geometry(input, weight, stride, padding);
    let (input, weight) = (input.to_contiguous(), weight.to_contiguous());
    let (input, weight) = (values(&input), values(&weight));
    let (input_gradient, weight_gradient) = match geometry.kernel {
        3 => backward::<3>(&geometry, input, weight, values(gradient)),
        _ => backward::<5>(&geometry, input, weight, values(gradient)),
    };
    let filters = [geometry.channels, 1, geometry.kernel, geometry.kernel];
    [
        geometry.input_tensor(input_gradient),
        tensor(weight_gradient, filters),
    ]
}

fn geometry(input: &FlexTensor, weight: &FlexTensor, stride: usize, padding: Padding) -> Geometry {
    let geometry = Geometry::of(input, weight, stride, padding);
    assert_eq!(
        geometry.channels, geometry.filters,
        "a filter for every channel"
    );
    geometry
}

impl Geometry {
    /// `[height, width]` of the input with a border of zeros, which is wide enough for either
    /// kind of padding.
    #[inline]
    fn padded(&self) -> [usize; 2] {
        self.input.map(|side| side + 2 * (self.kernel / 2))
    }

    #[inline]
    fn padded_plane(&self) -> usize {
        self.padded()[0] * self.padded()[1]
    }

    /// The number of groups of eight channels. The last group may be smaller.
    #[inline]
    fn groups(&self) -> usize {
        self.channels.div_ceil(LANES)
    }
}

fn convolve<const K: usize>(geometry: &Geometry, input: &[f32], weight: &[f32]) -> Vec<f32> {
    let filters = interleaved_filters(weight, K);
    let fill = |output: &mut [MaybeUninit<f32>]| {
        output
            .par_chunks_mut(geometry.channels * geometry.output_plane())
            .zip(input.par_chunks(geometry.channels * geometry.input_plane()))
            .for_each_init(
                || {
                    let padded = vec![[0.0; LANES]; geometry.padded_plane()];
                    let row = vec![[0.0; LANES]; geometry.output[1]];
                    (padded, row)
                },
                |(padded, row), (output, input)| {
                    vectorized(ConvolveImage::<K> {
                        geometry,
                        input,
                        filters: &filters,
                        padded,
                        row,
                        output,
                    });
                },
            );
    };
    // SAFETY: each image's loop writes every row of every channel.
    unsafe {
        filled(
            geometry.images * geometry.channels * geometry.output_plane(),
            fill,
        )
    }
}

/// The convolution of one image.
struct ConvolveImage<'a, const K: usize> {
    geometry: &'a Geometry,
    input: &'a [f32],
    filters: &'a [Lanes],
    padded: &'a mut [Lanes],
    row: &'a mut [Lanes],
    output: &'a mut [MaybeUninit<f32>],
}

impl<const K: usize> SimdLoop for ConvolveImage<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        const AT_ONCE: usize = 4;
        let geometry = self.geometry;
        let [height, width] = geometry.output;
        let (stride, columns) = (geometry.stride, geometry.padded()[1]);
        for group in 0..geometry.groups() {
            let filter = &self.filters[group * K * K..][..K * K];
            interleave_padded(geometry, self.input, group, self.padded);
            for y in 0..height {
                let rows = &self.padded[y * stride * columns..];
                let mut x = 0;
                while x + AT_ONCE <= width {
                    let at = &rows[x * stride..];
                    let sums = neighbours::<K, AT_ONCE, FMA>(at, columns, stride, filter);
                    self.row[x..x + AT_ONCE].copy_from_slice(&sums);
                    x += AT_ONCE;
                }
                for x in x..width {
                    let at = &rows[x * stride..];
                    let [sum] = neighbours::<K, 1, FMA>(at, columns, stride, filter);
                    self.row[x] = sum;
                }
                let plane = geometry.output_plane();
                deinterleave(self.row, self.output, group, plane, y * width);
            }
        }
    }
}

/// `N` neighbouring values of one row of the output. `at` begins with the first
/// input value under the filter of the first of them, and its rows are `columns` long.
#[inline(always)]
fn neighbours<const K: usize, const N: usize, const FMA: bool>(
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

/// The gradients with respect to the input and to the weight.
fn backward<const K: usize>(
    geometry: &Geometry,
    input: &[f32],
    weight: &[f32],
    gradient: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let filters = interleaved_filters(weight, K);
    let images = images_per_part(geometry.images);
    let (input_part, output_part) = (
        images * geometry.channels * geometry.input_plane(),
        images * geometry.channels * geometry.output_plane(),
    );
    let mut filters_gradient = Vec::new();
    let fill = |input_gradient: &mut [MaybeUninit<f32>]| {
        filters_gradient = input_gradient
            .par_chunks_mut(input_part)
            .zip(input.par_chunks(input_part))
            .zip(gradient.par_chunks(output_part))
            .map(|((input_gradient, input), gradient)| {
                vectorized(BackwardImages::<K> {
                    geometry,
                    input,
                    gradient,
                    filters: &filters,
                    input_gradient,
                })
            })
            .collect();
    };
    // SAFETY: each part's loop writes every row of every channel of its images.
    let input_gradient = unsafe { filled(input.len(), fill) };
    let filters_gradient = sum(filters_gradient);
    (
        input_gradient,
        split_filters(&filters_gradient, geometry.channels, K),
    )
}

/// The backward pass of some images. It writes the gradient with respect to the input
/// and returns the one with respect to the interleaved filters.
struct BackwardImages<'a, const K: usize> {
    geometry: &'a Geometry,
    input: &'a [f32],
    gradient: &'a [f32],
    filters: &'a [Lanes],
    input_gradient: &'a mut [MaybeUninit<f32>],
}

impl<const K: usize> SimdLoop for BackwardImages<'_, K> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let geometry = self.geometry;
        let (input_plane, output_plane) = (geometry.input_plane(), geometry.output_plane());
        let mut filters_gradient = vec![[0.0; LANES]; self.filters.len()];
        let mut padded = vec![[0.0; LANES]; geometry.padded_plane()];
        let mut padded_gradient = padded.clone();
        let mut gradient = vec![[0.0; LANES]; output_plane];
        let images = self
            .input
            .chunks(geometry.channels * input_plane)
            .zip(self.gradient.chunks(geometry.channels * output_plane))
            .zip(
                self.input_gradient
                    .chunks_mut(geometry.channels * input_plane),
            );
        for ((input, output_gradient), input_gradient) in images {
            for group in 0..geometry.groups() {
                let filter = &self.filters[group * K * K..][..K * K];
                let filter_gradient = &mut filters_gradient[group * K * K..][..K * K];
                interleave_padded(geometry, input, group, &mut padded);
                interleave(output_gradient, &mut gradient, group, output_plane, 0);
                add_filter_gradient::<K, FMA>(geometry, &padded, &gradient, filter_gradient);
                padded_gradient.fill([0.0; LANES]);
                add_input_gradient::<K, FMA>(geometry, &gradient, filter, &mut padded_gradient);
                let [above, left] = geometry.before;
                for y in 0..geometry.input[0] {
                    let row = (y + above) * geometry.padded()[1] + left;
                    let row = &padded_gradient[row..][..geometry.input[1]];
                    deinterleave(
                        row,
                        input_gradient,
                        group,
                        input_plane,
                        y * geometry.input[1],
                    );
                }
            }
        }
        filters_gradient.into_flattened()
    }
}

/// Adds the gradient with respect to the filter: for each of its weights, the sum of
/// the input values that it was multiplied with, times the gradients of the outputs.
#[inline(always)]
fn add_filter_gradient<const K: usize, const FMA: bool>(
    geometry: &Geometry,
    padded: &[Lanes],
    gradient: &[Lanes],
    filter_gradient: &mut [Lanes],
) {
    let width = geometry.output[1];
    let (stride, columns) = (geometry.stride, geometry.padded()[1]);
    for v in 0..K {
        let mut sums = [[0.0; LANES]; K];
        for (y, gradient) in gradient.chunks_exact(width).enumerate() {
            let row = &padded[(y * stride + v) * columns..][..columns];
            for (x, gradient) in gradient.iter().enumerate() {
                let pixels = &row[x * stride..][..K];
                for u in 0..K {
                    accumulate::<FMA>(&mut sums[u], &pixels[u], gradient);
                }
            }
        }
        for u in 0..K {
            for lane in 0..LANES {
                filter_gradient[v * K + u][lane] += sums[u][lane];
            }
        }
    }
}

/// Adds the gradient with respect to the padded input: each gradient of the output,
/// times the filter, goes to the input values that the output was computed from.
#[inline(always)]
fn add_input_gradient<const K: usize, const FMA: bool>(
    geometry: &Geometry,
    gradient: &[Lanes],
    filter: &[Lanes],
    padded_gradient: &mut [Lanes],
) {
    let width = geometry.output[1];
    let (stride, columns) = (geometry.stride, geometry.padded()[1]);
    for (y, gradient) in gradient.chunks_exact(width).enumerate() {
        for v in 0..K {
            let weights: &[Lanes; K] = filter[v * K..].first_chunk().expect("a row of the filter");
            let row = &mut padded_gradient[(y * stride + v) * columns..][..columns];
            for (x, gradient) in gradient.iter().enumerate() {
                let target = &mut row[x * stride..][..K];
                for u in 0..K {
                    accumulate::<FMA>(&mut target[u], gradient, &weights[u]);
                }
            }
        }
    }
}

/// Interleaves a group's planes into `padded`. The border stays as it is.
#[inline(always)]
fn interleave_padded(geometry: &Geometry, input: &[f32], group: usize, padded: &mut [Lanes]) {
    let (width, columns) = (geometry.input[1], geometry.padded()[1]);
    let [above, left] = geometry.before;
    for y in 0..geometry.input[0] {
        let row = &mut padded[(y + above) * columns + left..][..width];
        interleave(input, row, group, geometry.input_plane(), y * width);
    }
}

/// Interleaves the values from `offset` on of each plane of a group of channels, as many
/// as `interleaved` takes. `plane` is the length of a plane.
#[inline(always)]
fn interleave(
    planes: &[f32],
    interleaved: &mut [Lanes],
    group: usize,
    plane: usize,
    offset: usize,
) {
    let planes = &planes[group * LANES * plane..];
    let len = interleaved.len();
    if planes.len() >= LANES * plane {
        let lanes: [&[f32]; LANES] =
            std::array::from_fn(|lane| &planes[lane * plane + offset..][..len]);
        let (blocks, rest) = interleaved.as_chunks_mut::<LANES>();
        for (at, block) in blocks.iter_mut().enumerate() {
            let square: [Lanes; LANES] = std::array::from_fn(|lane| {
                *lanes[lane][at * LANES..]
                    .first_chunk()
                    .expect("within the row")
            });
            *block = std::array::from_fn(|x| std::array::from_fn(|lane| square[lane][x]));
        }
        for (x, interleaved) in (len - rest.len()..len).zip(rest) {
            *interleaved = std::array::from_fn(|lane| lanes[lane][x]);
        }
    } else {
        for (lane, plane) in planes.chunks(plane).enumerate() {
            for (interleaved, value) in interleaved.iter_mut().zip(&plane[offset..]) {
                interleaved[lane] = *value;
            }
        }
    }
}

/// The inverse of [`interleave`].
#[inline(always)]
fn deinterleave(
    interleaved: &[Lanes],
    planes: &mut [MaybeUninit<f32>],
    group: usize,
    plane: usize,
    offset: usize,
) {
    let planes = &mut planes[group * LANES * plane..];
    for (lane, plane) in planes.chunks_mut(plane).take(LANES).enumerate() {
        for (value, interleaved) in plane[offset..].iter_mut().zip(interleaved) {
            value.write(interleaved[lane]);
        }
    }
}

/// The filters, `[channels, 1, k, k]`, as k × k lanes for each group of channels.
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
