//! Pointwise convolution (1 × 1): a matrix product over the channels.

use crate::ops::{
    matrix::{Matrix, multiply, multiply_add},
    prelude::*,
};

/// The number of columns that make a product worth its set-up. Images that are
/// smaller are multiplied several at once.
const COLUMNS: usize = 256;

/// Convolves `input`, `[batch, channels, height, width]`, by `weight`,
/// `[filters, channels, 1, 1]`.
pub fn forward(input: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let [images, channels, height, width] = input.shape().dims();
    let [filters, _, _, _] = weight.shape().dims();
    let (input, weight) = (input.to_contiguous(), weight.to_contiguous());
    let weight = Matrix::new(values(&weight), filters, channels);
    let output = mix(values(&input), weight, [filters, channels], height * width);
    tensor(output, [images, filters, height, width])
}

/// The gradients with respect to the input and to the weight, each if it is wanted.
pub fn gradients(
    input: &FlexTensor,
    weight: &FlexTensor,
    gradient: &FlexTensor,
    [of_input, of_weight]: [bool; 2],
) -> [Option<FlexTensor>; 2] {
    let [images, channels, height, width] = input.shape().dims();
    let [filters, _, _, _] = weight.shape().dims();
    let plane = height * width;
    let gradient = values(gradient);
    let for_input = || {
        let weight = weight.to_contiguous();
        let weight = Matrix::new(values(&weight), filters, channels).transposed();
        let mixed = mix(gradient, weight, [channels, filters], plane);
        tensor(mixed, [images, channels, height, width])
    };
    let for_weight = || {
        let input = input.to_contiguous();
        let sum = weight_gradient(gradient, values(&input), [filters, channels], plane);
        tensor(sum, [filters, channels, 1, 1])
    };
    [of_input.then(for_input), of_weight.then(for_weight)]
}

/// Multiplies the channels of every image by `weight`, a matrix `[to, from]`.
fn mix(input: &[f32], weight: Matrix, [to, from]: [usize; 2], plane: usize) -> Vec<f32> {
    let group = COLUMNS.div_ceil(plane);
    let fill = |output: &mut [MaybeUninit<f32>]| {
        output
            .par_chunks_mut(group * to * plane)
            .zip(input.par_chunks(group * from * plane))
            .for_each_init(Vec::new, |gathered, (output, input)| {
                let images = input.len() / (from * plane);
                let columns = images * plane;
                if images == 1 {
                    multiply(output, weight, Matrix::new(input, from, plane));
                    return;
                }
                gather(input, gathered, from, plane);
                // SAFETY: `multiply` writes all of the product.
                let product = unsafe {
                    filled(to * columns, |product| {
                        multiply(product, weight, Matrix::new(gathered, from, columns));
                    })
                };
                scatter(&product, output, to, plane);
            });
    };
    // SAFETY: each group writes the products of all its images.
    unsafe { filled(input.len() / from * to, fill) }
}

/// The gradient with respect to the weight, `[to, from]`: the sum over all images of
/// the gradient's channels times the input's.
fn weight_gradient(
    gradient: &[f32],
    input: &[f32],
    [to, from]: [usize; 2],
    plane: usize,
) -> Vec<f32> {
    let images = images_per_part(input.len() / (from * plane));
    let group = COLUMNS.div_ceil(plane);
    let parts = gradient
        .par_chunks(images * to * plane)
        .zip(input.par_chunks(images * from * plane))
        .map(|(gradient, input)| {
            let mut total = vec![0.0; to * from];
            let (mut left, mut right) = (Vec::new(), Vec::new());
            let groups = gradient
                .chunks(group * to * plane)
                .zip(input.chunks(group * from * plane));
            for (gradient, input) in groups {
                let columns = input.len() / from;
                let (gradient, input) = if columns == plane {
                    (gradient, input)
                } else {
                    gather(gradient, &mut left, to, plane);
                    gather(input, &mut right, from, plane);
                    (&left[..], &right[..])
                };
                let gradient = Matrix::new(gradient, to, columns);
                let input = Matrix::new(input, from, columns);
                multiply_add(&mut total, gradient, input.transposed());
            }
            total
        });
    sum(parts.collect())
}

/// Rearranges `[images, channels, plane]` to `[channels, images, plane]`.
fn gather(images: &[f32], gathered: &mut Vec<f32>, channels: usize, plane: usize) {
    gathered.clear();
    gathered.reserve(images.len());
    for channel in 0..channels {
        for image in images.chunks_exact(channels * plane) {
            gathered.extend_from_slice(&image[channel * plane..][..plane]);
        }
    }
}

/// The inverse of [`gather`].
fn scatter(gathered: &[f32], images: &mut [MaybeUninit<f32>], channels: usize, plane: usize) {
    let columns = gathered.len() / channels;
    for (index, image) in images.chunks_exact_mut(channels * plane).enumerate() {
        for (channel, image) in image.chunks_exact_mut(plane).enumerate() {
            let from = &gathered[channel * columns + index * plane..][..plane];
            image.write_copy_of_slice(from);
        }
    }
}
