//! The columns of a run: sixteen values for each channel, or for each value under the filter.

use maskline_models::ops::simd::{LANES, Lanes, accumulate};

use super::padded::Padded;

/// The side of the stem's filters.
const STEM_SIDE: usize = 5;

/// The side of the depthwise filters.
const DEPTHWISE_SIDE: usize = 3;

/// Makes the columns of a run.
pub trait Columns {
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
pub struct Windows {
    pub channels: usize,
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
pub struct Depthwise<'a> {
    pub weights: &'a [[f32; DEPTHWISE_SIDE * DEPTHWISE_SIDE]],
    pub bias: &'a [f32],
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
