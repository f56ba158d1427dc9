//! Pointwise convolution (1 × 1): a matrix product over the channels.

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
    matrix::{Matrix, multiply, multiply_add},
    sum, tensor, values,
};

/// Columns that make a product worth its set-up. Images smaller than that are
/// multiplied several at once.
const COLUMNS: usize = 256;

/// Pointwise convolution on the CPU.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weight`: `[filters, channels, 1, 1]`
///
/// Gives `[batch, filters, height, width]`.
pub fn pointwise(input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as PointwiseOps>::pointwise(
        input.into_dispatch(),
        weight.into_dispatch(),
    ))
}

#[backend_extension(Autodiff, Flex)]
pub trait PointwiseOps: Backend {
    fn pointwise(input: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl PointwiseOps for Flex {
    fn pointwise(input: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let [images, channels, height, width] = input.shape().dims();
        let [filters, _, _, _] = weight.shape().dims();
        let (input, weight) = (input.to_contiguous(), weight.to_contiguous());
        let weight = Matrix::new(values(&weight), filters, channels);
        let output = mix(values(&input), weight, [filters, channels], height * width);
        tensor(output, [images, filters, height, width])
    }
}

impl<C: CheckpointStrategy> PointwiseOps for Autodiff<Flex, C> {
    fn pointwise(input: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Step
            .prepare::<C>([input.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (input, weight) = (input.into_primitive(), weight.into_primitive());
        let output = Flex::pointwise(input.clone(), weight.clone());
        match prepared {
            OpsKind::Tracked(step) => step.finish((input, weight), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }
}

#[derive(Debug)]
struct Step;

impl Backward<Flex, 2> for Step {
    type State = (FlexTensor, FlexTensor);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (input, weight) = ops.state;
        let [images, channels, height, width] = input.shape().dims();
        let [filters, _, _, _] = weight.shape().dims();
        let plane = height * width;
        let [of_input, of_weight] = ops.parents;
        if let Some(node) = of_input {
            let weight = weight.to_contiguous();
            let weight = Matrix::new(values(&weight), filters, channels).transposed();
            let by_input = mix(values(&gradient), weight, [channels, filters], plane);
            let by_input = tensor(by_input, [images, channels, height, width]);
            gradients.register::<Flex>(node.id, by_input);
        }
        if let Some(node) = of_weight {
            let input = input.to_contiguous();
            let by_weight = by_weight(
                values(&gradient),
                values(&input),
                [filters, channels],
                plane,
            );
            let by_weight = tensor(by_weight, [filters, channels, 1, 1]);
            gradients.register::<Flex>(node.id, by_weight);
        }
    }
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

/// The gradient by the weight, `[to, from]`: over all images, the gradient's
/// channels times the input's.
pub(super) fn by_weight(
    gradient: &[f32],
    input: &[f32],
    [to, from]: [usize; 2],
    plane: usize,
) -> Vec<f32> {
    let images = images_a_part(input.len() / (from * plane));
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

/// `[images, channels, plane]` to `[channels, images, plane]`.
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
