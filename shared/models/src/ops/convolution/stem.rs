//! General convolution, for the few channels of a network's first layer.
//!
//! The pixels under the filter at each position of the output become a column of a
//! matrix (im2col), and the convolution is one product of matrices.

use super::geometry::{Geometry, Padding};
use crate::ops::{
    matrix::{Matrix, multiply, multiply_add},
    prelude::*,
};

/// Convolves `input`, `[batch, channels, height, width]`, by `weight`,
/// `[filters, channels, k, k]`.
pub fn forward(
    input: &FlexTensor,
    weight: &FlexTensor,
    stride: usize,
    padding: Padding,
) -> FlexTensor {
    let geometry = Geometry::of(input, weight, stride, padding);
    let (input, weight) = (input.to_contiguous(), weight.to_contiguous());
    let weight = Matrix::new(values(&weight), geometry.filters, geometry.patch());
    let fill = |output: &mut [MaybeUninit<f32>]| {
        output
            .par_chunks_mut(geometry.filters * geometry.positions())
            .zip(values(&input).par_chunks(geometry.pixels()))
            .for_each_init(
                || vec![0.0; geometry.patch() * geometry.positions()],
                |columns, (output, input)| {
                    im2col(&geometry, input, columns);
                    let columns = Matrix::new(columns, geometry.patch(), geometry.positions());
                    multiply(output, weight, columns);
                },
            );
    };
    let len = geometry.images * geometry.filters * geometry.positions();
    // SAFETY: `multiply` writes all of each image's product.
    geometry.output_tensor(unsafe { filled(len, fill) })
}

/// The gradients with respect to the input and to the weight, each if it is wanted.
/// Only tests want the input's: a network's first layer has images as its input.
pub fn gradients(
    input: &FlexTensor,
    weight: &FlexTensor,
    stride: usize,
    padding: Padding,
    gradient: &FlexTensor,
    [of_input, of_weight]: [bool; 2],
) -> [Option<FlexTensor>; 2] {
    let geometry = Geometry::of(input, weight, stride, padding);
    let gradient = values(gradient);
    let for_input = || {
        let weight = weight.to_contiguous();
        geometry.input_tensor(input_gradient(&geometry, gradient, values(&weight)))
    };
    let for_weight = || {
        let input = input.to_contiguous();
        let sum = weight_gradient(&geometry, gradient, values(&input));
        let (filters, channels, kernel) = (geometry.filters, geometry.channels, geometry.kernel);
        tensor(sum, [filters, channels, kernel, kernel])
    };
    [of_input.then(for_input), of_weight.then(for_weight)]
}

impl Geometry {
    /// The number of values of one image of the input.
    fn pixels(&self) -> usize {
        self.channels * self.input_plane()
    }

    /// The number of input values under a filter.
    fn patch(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// The number of positions that a filter takes in one image.
    fn positions(&self) -> usize {
        self.output_plane()
    }

    /// Calls `call` with every run of pixels in the columns. Pixels of the border, which are
    /// zero, are left out.
    fn each_run(&self, mut call: impl FnMut(Run)) {
        let ([height, width], [rows, columns]) = (self.input, self.output);
        let [above, left] = self.before;
        for value in 0..self.patch() {
            let channel = value / (self.kernel * self.kernel);
            let (v, u) = (value / self.kernel % self.kernel, value % self.kernel);
            // The positions x for which x · stride + u − left lies within the width.
            let first = left.saturating_sub(u).div_ceil(self.stride);
            let end = (width + left)
                .saturating_sub(u)
                .div_ceil(self.stride)
                .min(columns);
            for y in 0..rows {
                let from = (y * self.stride + v).wrapping_sub(above);
                if from < height && first < end {
                    call(Run {
                        column: value * self.positions() + y * columns + first,
                        pixel: (channel * height + from) * width + first * self.stride + u - left,
                        len: end - first,
                    });
                }
            }
        }
    }
}

/// `len` neighbouring values of the columns, and the pixels that they are copied from, which
/// lie a stride apart.
struct Run {
    /// The index of the first value in the matrix of columns.
    column: usize,
    /// The index of the first pixel in the image.
    pixel: usize,
    len: usize,
}

/// Fills `columns`, `[patch, positions]`, with the pixels under the filter at each
/// position. Values for pixels of the border are never written: they stay zero.
fn im2col(geometry: &Geometry, image: &[f32], columns: &mut [f32]) {
    geometry.each_run(|Run { column, pixel, len }| {
        let pixels = image[pixel..].iter().step_by(geometry.stride);
        for (value, pixel) in columns[column..][..len].iter_mut().zip(pixels) {
            *value = *pixel;
        }
    });
}

/// Adds each value of `columns` to the pixel that [`im2col`] takes it from.
fn col2im(geometry: &Geometry, columns: &[f32], image: &mut [f32]) {
    geometry.each_run(|Run { column, pixel, len }| {
        let pixels = image[pixel..].iter_mut().step_by(geometry.stride);
        for (value, pixel) in columns[column..][..len].iter().zip(pixels) {
            *pixel += value;
        }
    });
}

fn weight_gradient(geometry: &Geometry, gradient: &[f32], input: &[f32]) -> Vec<f32> {
    let (filters, patch, positions) = (geometry.filters, geometry.patch(), geometry.positions());
    let images = images_per_part(geometry.images);
    let parts = gradient
        .par_chunks(images * filters * positions)
        .zip(input.par_chunks(images * geometry.pixels()))
        .map(|(gradient, input)| {
            let mut total = vec![0.0; filters * patch];
            let mut columns = vec![0.0; patch * positions];
            let images = gradient
                .chunks(filters * positions)
                .zip(input.chunks(geometry.pixels()));
            for (gradient, image) in images {
                im2col(geometry, image, &mut columns);
                let gradient = Matrix::new(gradient, filters, positions);
                let columns = Matrix::new(&columns, patch, positions);
                multiply_add(&mut total, gradient, columns.transposed());
            }
            total
        });
    sum(parts.collect())
}

fn input_gradient(geometry: &Geometry, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let (filters, patch, positions) = (geometry.filters, geometry.patch(), geometry.positions());
    let weight = Matrix::new(weight, filters, patch).transposed();
    let mut images = vec![0.0; geometry.images * geometry.pixels()];
    images
        .par_chunks_mut(geometry.pixels())
        .zip(gradient.par_chunks(filters * positions))
        .for_each(|(image, gradient)| {
            let mut columns = vec![0.0; patch * positions];
            let gradient = Matrix::new(gradient, filters, positions);
            multiply_add(&mut columns, weight, gradient);
            col2im(geometry, &columns, image);
        });
    images
}
