//! An image with zeros around it, as the columns of its pixels need it.

use maskline_models::ops::simd::{LANES, Lanes};

use super::sizes::Sizes;

/// The planes of an image with zeros around them. The columns of each row are sorted by their
/// remainder of the stride, so that the values under neighbouring filters are neighbours.
pub struct Padded<'a> {
    values: &'a [f32],
    stride: usize,
    /// The length of the columns of one remainder.
    phase: usize,
    rows: usize,
}

impl<'a> Padded<'a> {
    /// Writes the planes of an image into `memory`, with zeros around them.
    #[inline(always)]
    pub fn new(sizes: &Sizes, input: &[f32], memory: &'a mut Vec<f32>) -> Self {
        pad(sizes, input, memory);
        Self {
            values: memory,
            stride: sizes.stride,
            phase: sizes.phase(),
            rows: sizes.rows(),
        }
    }

    /// The values under the filters at (`u`, `v`) for eight neighbouring pixels of the output, the
    /// first of them at (`x`, `y`).
    #[inline(always)]
    pub fn lanes(&self, channel: usize, y: usize, x: usize, v: usize, u: usize) -> &Lanes {
        let row = channel * self.rows + y * self.stride + v;
        let phase = row * self.stride + u % self.stride;
        let start = phase * self.phase + x + u / self.stride;
        lanes(&self.values[start..], 0)
    }

    /// The same for the three values `u` of a row of a depthwise filter.
    #[inline(always)]
    pub fn row_of_three(&self, channel: usize, y: usize, x: usize, v: usize) -> [&Lanes; 3] {
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
