//! A layer: the columns of each run of sixteen pixels, and the filters that add them up.

use std::cell::RefCell;

use burn::{
    backend::{TensorMetadata, flex::FlexTensor},
    tensor::TensorData,
};
use maskline_models::ops::simd::{LANES, Lanes, SimdLoop, accumulate, vectorized};

use super::{columns::Columns, padded::Padded, sizes::Sizes};

/// The pixels of a run.
const RUN: usize = 2 * LANES;

/// The filters that add up columns.
pub struct Filters<'a> {
    /// `[filters, columns]`
    pub weight: &'a [f32],
    /// `[filters]`
    pub bias: &'a [f32],
    pub has_shortcut: bool,
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

/// Computes a layer for all images of the input.
pub fn layer<C: Columns>(
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
        let padded = Padded::new(&sizes, input, &mut buffers.padded);
        let shortcut = match (filters.has_shortcut, sizes.stride) {
            (false, _) => &[][..],
            (true, 1) => input,
            (true, _) => {
                pool(&sizes, input, &mut buffers.pooled);
                &buffers.pooled
            }
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
