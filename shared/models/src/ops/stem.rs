//! The first convolution: three channels to many, 3 × 3, every second pixel. The
//! pixels that each place sees are laid out as a column, then it is one product.

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

/// Convolution of few channels on the CPU.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weight`: `[filters, channels, k, k]`, k odd; the padding is k / 2
///
/// Gives `[batch, filters, ⌈height / stride⌉, ⌈width / stride⌉]`.
pub fn stem(input: Tensor<4>, weight: Tensor<4>, stride: usize) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as StemOps>::stem(
        input.into_dispatch(),
        weight.into_dispatch(),
        stride,
    ))
}

#[backend_extension(Autodiff, Flex)]
pub trait StemOps: Backend {
    fn stem(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;
}

impl StemOps for Flex {
    fn stem(input: FlexTensor, weight: FlexTensor, stride: usize) -> FlexTensor {
        let shape = Shape::of(&input, &weight, stride);
        let (input, weight) = (input.to_contiguous(), weight.to_contiguous());
        let weight = Matrix::new(values(&weight), shape.filters, shape.seen());
        let fill = |output: &mut [MaybeUninit<f32>]| {
            output
                .par_chunks_mut(shape.filters * shape.places())
                .zip(values(&input).par_chunks(shape.pixels()))
                .for_each_init(
                    || vec![0.0; shape.seen() * shape.places()],
                    |columns, (output, input)| {
                        lay_out(&shape, input, columns);
                        let columns = Matrix::new(columns, shape.seen(), shape.places());
                        multiply(output, weight, columns);
                    },
                );
        };
        // SAFETY: `multiply` writes all of each image's product.
        let output = unsafe { filled(shape.images * shape.filters * shape.places(), fill) };
        let [height, width] = shape.output;
        tensor(output, [shape.images, shape.filters, height, width])
    }
}

impl<C: CheckpointStrategy> StemOps for Autodiff<Flex, C> {
    fn stem(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        let prepared = Step
            .prepare::<C>([input.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (input, weight) = (input.into_primitive(), weight.into_primitive());
        let output = Flex::stem(input.clone(), weight.clone(), stride);
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
        let [of_input, of_weight] = ops.parents;
        // Pixels are data: nothing but a test asks for their gradient.
        if let Some(node) = of_input {
            let weight = weight.to_contiguous();
            let by_input = by_input(&shape, values(&gradient), values(&weight));
            let [height, width] = shape.input;
            let by_input = tensor(by_input, [shape.images, shape.channels, height, width]);
            gradients.register::<Flex>(node.id, by_input);
        }
        if let Some(node) = of_weight {
            let input = input.to_contiguous();
            let by_weight = by_weight(&shape, values(&gradient), values(&input));
            let (filters, channels, kernel) = (shape.filters, shape.channels, shape.kernel);
            let by_weight = tensor(by_weight, [filters, channels, kernel, kernel]);
            gradients.register::<Flex>(node.id, by_weight);
        }
    }
}

/// Heights and widths are `[height, width]`.
struct Shape {
    images: usize,
    channels: usize,
    filters: usize,
    input: [usize; 2],
    output: [usize; 2],
    kernel: usize,
    stride: usize,
}

impl Shape {
    fn of(input: &FlexTensor, weight: &FlexTensor, stride: usize) -> Self {
        let [images, channels, height, width] = input.shape().dims();
        let [filters, _, kernel, _] = weight.shape().dims();
        Self {
            images,
            channels,
            filters,
            input: [height, width],
            output: [height.div_ceil(stride), width.div_ceil(stride)],
            kernel,
            stride,
        }
    }

    /// Values of one image of the input.
    fn pixels(&self) -> usize {
        self.channels * self.input[0] * self.input[1]
    }

    /// Values of the input that each place of the output sees.
    fn seen(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// Places of one image of the output.
    fn places(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// What the places of a row see of the image, value by value of what they see,
    /// but for the border.
    fn each_span(&self, mut call: impl FnMut(Span)) {
        let ([height, width], [rows, columns]) = (self.input, self.output);
        let pad = self.kernel / 2;
        for seen in 0..self.seen() {
            let channel = seen / (self.kernel * self.kernel);
            let (v, u) = (seen / self.kernel % self.kernel, seen % self.kernel);
            // The places x for which x · stride + u − pad lies within the width.
            let first = pad.saturating_sub(u).div_ceil(self.stride);
            let end = (width + pad)
                .saturating_sub(u)
                .div_ceil(self.stride)
                .min(columns);
            for y in 0..rows {
                let from = (y * self.stride + v).wrapping_sub(pad);
                if from < height && first < end {
                    call(Span {
                        place: seen * self.places() + y * columns + first,
                        pixel: (channel * height + from) * width + first * self.stride + u - pad,
                        len: end - first,
                    });
                }
            }
        }
    }
}

/// Places side by side: `len` of the columns from `place`, and the pixels they see,
/// from `pixel`, each a stride further.
struct Span {
    place: usize,
    pixel: usize,
    len: usize,
}

/// Fills `columns`, `[seen, places]`, with what each place of the output sees. What
/// of it lies in the border is never written: it stays zero.
fn lay_out(shape: &Shape, image: &[f32], columns: &mut [f32]) {
    shape.each_span(|Span { place, pixel, len }| {
        let pixels = image[pixel..].iter().step_by(shape.stride);
        for (column, pixel) in columns[place..][..len].iter_mut().zip(pixels) {
            *column = *pixel;
        }
    });
}

fn by_weight(shape: &Shape, gradient: &[f32], input: &[f32]) -> Vec<f32> {
    let images = images_a_part(shape.images);
    let parts = gradient
        .par_chunks(images * shape.filters * shape.places())
        .zip(input.par_chunks(images * shape.pixels()))
        .map(|(gradient, input)| {
            let mut total = vec![0.0; shape.filters * shape.seen()];
            let mut columns = vec![0.0; shape.seen() * shape.places()];
            let images = gradient
                .chunks(shape.filters * shape.places())
                .zip(input.chunks(shape.pixels()));
            for (gradient, image) in images {
                lay_out(shape, image, &mut columns);
                let gradient = Matrix::new(gradient, shape.filters, shape.places());
                let columns = Matrix::new(&columns, shape.seen(), shape.places());
                multiply_add(&mut total, gradient, columns.transposed());
            }
            total
        });
    sum(parts.collect())
}

fn by_input(shape: &Shape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let weight = Matrix::new(weight, shape.filters, shape.seen()).transposed();
    let mut by_input = vec![0.0; shape.images * shape.pixels()];
    by_input
        .par_chunks_mut(shape.pixels())
        .zip(gradient.par_chunks(shape.filters * shape.places()))
        .for_each(|(image, gradient)| {
            let mut columns = vec![0.0; shape.seen() * shape.places()];
            let gradient = Matrix::new(gradient, shape.filters, shape.places());
            multiply_add(&mut columns, weight, gradient);
            shape.each_span(|Span { place, pixel, len }| {
                let pixels = image[pixel..].iter_mut().step_by(shape.stride);
                for (column, pixel) in columns[place..][..len].iter().zip(pixels) {
                    *pixel += column;
                }
            });
        });
    by_input
}
