//! Squeeze-and-excitation: each channel is multiplied by a value that a small network
//! computes from the means of all channels.
//!
//! Hu et al., *Squeeze-and-Excitation Networks*, 2018.

#[cfg(feature = "gpu")]
mod gpu;

use burn::backend::ExtensionType;

use super::{
    activation::{Activation, Gate, ScalarFunction, with_activation, with_gate},
    matrix::{Matrix, multiply_add},
    prelude::*,
    simd::{SimdLoop, vectorized},
};

#[cfg(feature = "gpu")]
pub use gpu::gpu_squeeze_excite;

/// The two layers of the small network.
pub struct SqueezeLayers {
    /// Weight, `[squeezed, channels, 1, 1]`, and bias, `[squeezed]`, of the first layer.
    pub reduce: (Tensor<4>, Tensor<1>),
    /// Weight, `[channels, squeezed, 1, 1]`, and bias, `[channels]`, of the second layer.
    pub expand: (Tensor<4>, Tensor<1>),
    /// The activation between the two layers.
    pub activation: Activation,
    /// The function after the second layer.
    pub gate: Gate,
}

/// Squeeze-and-excitation on the CPU. `input` and the output are
/// `[batch, channels, height, width]`.
pub fn squeeze_excite(input: Tensor<4>, layers: SqueezeLayers) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as SqueezeOps>::squeeze_excite(
        input.into_dispatch(),
        Layers {
            reduce_weight: layers.reduce.0.into_dispatch(),
            reduce_bias: layers.reduce.1.into_dispatch(),
            expand_weight: layers.expand.0.into_dispatch(),
            expand_bias: layers.expand.1.into_dispatch(),
            activation: layers.activation,
            gate: layers.gate,
        },
    ))
}

/// [`SqueezeLayers`] on a backend.
#[derive(Debug, Clone, ExtensionType)]
pub struct Layers<B: Backend> {
    reduce_weight: FloatTensor<B>,
    reduce_bias: FloatTensor<B>,
    expand_weight: FloatTensor<B>,
    expand_bias: FloatTensor<B>,
    activation: Activation,
    gate: Gate,
}

#[backend_extension(Autodiff, Flex)]
pub trait SqueezeOps: Backend {
    fn squeeze_excite(
        input: FloatTensor<Self>,
        #[extension_type] layers: Layers<Self>,
    ) -> FloatTensor<Self>;
}

impl SqueezeOps for Flex {
    fn squeeze_excite(input: FlexTensor, layers: Layers<Self>) -> FlexTensor {
        forward(&input, &layers).0
    }
}

impl<C: CheckpointStrategy> SqueezeOps for Autodiff<Flex, C> {
    fn squeeze_excite(input: AutodiffTensor, layers: Layers<Self>) -> AutodiffTensor {
        let (
            nodes,
            [
                input,
                reduce_weight,
                reduce_bias,
                expand_weight,
                expand_bias,
            ],
        ) = into_parts([
            input,
            layers.reduce_weight,
            layers.reduce_bias,
            layers.expand_weight,
            layers.expand_bias,
        ]);
        let layers = Layers {
            reduce_weight,
            reduce_bias,
            expand_weight,
            expand_bias,
            activation: layers.activation,
            gate: layers.gate,
        };
        let (output, intermediates) = forward(&input, &layers);
        let saved = Saved {
            input,
            layers,
            intermediates,
        };
        track::<C, _, 5>(nodes, output, saved)
    }
}

/// The values that the backward pass needs.
#[derive(Debug, Clone)]
struct Saved {
    input: FlexTensor,
    layers: Layers<Flex>,
    intermediates: Intermediates,
}

impl Differentiable<5> for Saved {
    fn gradients(self, gradient: FlexTensor, _wanted: [bool; 5]) -> [Option<FlexTensor>; 5] {
        backward(&self, &gradient).map(Some)
    }
}

/// The values between the layers of the small network.
#[derive(Debug, Clone)]
struct Intermediates {
    /// The means of the channels, `[images, channels]`.
    means: Vec<f32>,
    /// The first layer's output before the activation, `[images, squeezed]`.
    squeezed: Vec<f32>,
    /// The second layer's output before the gate, `[images, channels]`.
    excited: Vec<f32>,
}

/// The sizes of the operation.
struct Sizes {
    images: usize,
    channels: usize,
    /// The number of values between the two layers.
    squeezed: usize,
    /// The number of values of one channel of an image.
    plane: usize,
}

impl Sizes {
    fn of(input: &FlexTensor, layers: &Layers<Flex>) -> Self {
        let [images, channels, height, width] = input.shape().dims();
        let [squeezed, _, _, _] = layers.reduce_weight.shape().dims();
        Self {
            images,
            channels,
            squeezed,
            plane: height * width,
        }
    }
}

fn forward(input: &FlexTensor, layers: &Layers<Flex>) -> (FlexTensor, Intermediates) {
    let contiguous = input.to_contiguous();
    let image = values(&contiguous);
    let Sizes {
        images,
        channels,
        squeezed,
        plane,
    } = Sizes::of(input, layers);
    let means = plane_sums(image, None, plane, 1.0 / plane as f32);
    let reduce = layers.reduce_weight.to_contiguous();
    let reduce = Matrix::new(values(&reduce), squeezed, channels);
    let squeezed_values = linear(&means, reduce, values(&layers.reduce_bias), images);
    let activated = activate(&squeezed_values, layers.activation);
    let expand = layers.expand_weight.to_contiguous();
    let expand = Matrix::new(values(&expand), channels, squeezed);
    let excited = linear(&activated, expand, values(&layers.expand_bias), images);
    let gates = gates(&excited, layers.gate);
    let fill = |output: &mut [MaybeUninit<f32>]| {
        output
            .par_chunks_mut(plane)
            .zip(image.par_chunks(plane))
            .zip(&gates)
            .with_min_len(channels)
            .for_each(|((output, input), gate)| {
                for (output, x) in output.iter_mut().zip(input) {
                    output.write(x * gate);
                }
            });
    };
    // SAFETY: every plane is written whole.
    let output = unsafe { filled(image.len(), fill) };
    let intermediates = Intermediates {
        means,
        squeezed: squeezed_values,
        excited,
    };
    (tensor::<4>(output, input.shape().dims()), intermediates)
}

/// The gradients with respect to the input, and to weight and bias of the two layers.
fn backward(saved: &Saved, gradient: &FlexTensor) -> [FlexTensor; 5] {
    let Saved {
        input,
        layers,
        intermediates,
    } = saved;
    let contiguous = input.to_contiguous();
    let Sizes {
        images,
        channels,
        squeezed,
        plane,
    } = Sizes::of(input, layers);

    let mut excited_gradient = plane_sums(values(gradient), Some(values(&contiguous)), plane, 1.0);
    with_gate!(layers.gate, G => multiply_by_derivative::<G>(&mut excited_gradient, &intermediates.excited));
    let activated = activate(&intermediates.squeezed, layers.activation);
    let (expand_gradient, expand_bias_gradient) =
        layer_gradients(&excited_gradient, &activated, images);

    let expand = layers.expand_weight.to_contiguous();
    let mut squeezed_gradient = vec![0.0; images * squeezed];
    multiply_add(
        &mut squeezed_gradient,
        Matrix::new(&excited_gradient, images, channels),
        Matrix::new(values(&expand), channels, squeezed),
    );
    with_activation!(
        layers.activation,
        A => multiply_by_derivative::<A>(&mut squeezed_gradient, &intermediates.squeezed)
    );
    let (reduce_gradient, reduce_bias_gradient) =
        layer_gradients(&squeezed_gradient, &intermediates.means, images);

    let reduce = layers.reduce_weight.to_contiguous();
    let mut means_gradient = vec![0.0; images * channels];
    multiply_add(
        &mut means_gradient,
        Matrix::new(&squeezed_gradient, images, squeezed),
        Matrix::new(values(&reduce), squeezed, channels),
    );

    let gates = gates(&intermediates.excited, layers.gate);
    let share = 1.0 / plane as f32;
    let fill = |input_gradient: &mut [MaybeUninit<f32>]| {
        input_gradient
            .par_chunks_mut(plane)
            .zip(values(gradient).par_chunks(plane))
            .zip(gates.par_iter().zip(&means_gradient))
            .with_min_len(channels)
            .for_each(|((input_gradient, gradient), (gate, mean_gradient))| {
                let pixel_share = mean_gradient * share;
                for (input_gradient, gradient) in input_gradient.iter_mut().zip(gradient) {
                    input_gradient.write(gradient * gate + pixel_share);
                }
            });
    };
    // SAFETY: every plane is written whole.
    let input_gradient = unsafe { filled(values(&contiguous).len(), fill) };
    [
        tensor::<4>(input_gradient, input.shape().dims()),
        tensor(reduce_gradient, [squeezed, channels, 1, 1]),
        tensor(reduce_bias_gradient, [squeezed]),
        tensor(expand_gradient, [channels, squeezed, 1, 1]),
        tensor(expand_bias_gradient, [channels]),
    ]
}

/// `input · weightᵀ + bias` for each image.
fn linear(input: &[f32], weight: Matrix, bias: &[f32], images: usize) -> Vec<f32> {
    let mut output = bias.repeat(images);
    let input = Matrix::new(input, images, input.len() / images);
    multiply_add(&mut output, input, weight.transposed());
    output
}

/// The gradients with respect to a layer's weight and bias, from the gradient with
/// respect to its output and from its input.
fn layer_gradients(gradient: &[f32], input: &[f32], images: usize) -> (Vec<f32>, Vec<f32>) {
    let (to, from) = (gradient.len() / images, input.len() / images);
    let mut weight_gradient = vec![0.0; to * from];
    let input = Matrix::new(input, images, from);
    let output_gradient = Matrix::new(gradient, images, to);
    multiply_add(&mut weight_gradient, output_gradient.transposed(), input);
    let mut bias_gradient = vec![0.0; to];
    for gradient in gradient.chunks(to) {
        for (bias_gradient, gradient) in bias_gradient.iter_mut().zip(gradient) {
            *bias_gradient += gradient;
        }
    }
    (weight_gradient, bias_gradient)
}

fn activate(values: &[f32], activation: Activation) -> Vec<f32> {
    with_activation!(activation, A => values.iter().map(|z| A::value(*z)).collect())
}

/// The values that the channels are multiplied by.
fn gates(excited: &[f32], gate: Gate) -> Vec<f32> {
    with_gate!(gate, G => excited.iter().map(|z| G::value(*z)).collect())
}

/// Multiplies each gradient by the function's derivative at `at`.
fn multiply_by_derivative<F: ScalarFunction>(gradient: &mut [f32], at: &[f32]) {
    for (gradient, z) in gradient.iter_mut().zip(at) {
        *gradient *= F::derivative(*z);
    }
}

/// For each plane the sum of its values, or of their products with the values of
/// `factors`, times `scale`.
fn plane_sums(batch: &[f32], factors: Option<&[f32]>, plane: usize, scale: f32) -> Vec<f32> {
    let planes = batch.par_chunks(plane).enumerate();
    let planes = planes.with_min_len(4096usize.div_ceil(plane));
    planes
        .map(|(at, values)| {
            let factors = factors.map(|factors| &factors[at * plane..][..plane]);
            scale * vectorized(Sum { values, factors })
        })
        .collect()
}

/// The sum of values, or of their products with factors.
struct Sum<'a> {
    values: &'a [f32],
    factors: Option<&'a [f32]>,
}

impl SimdLoop for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        const SUMS: usize = 16;
        let mut sums = [0.0f32; SUMS];
        let (chunks, rest) = self.values.as_chunks::<SUMS>();
        match self.factors {
            None => {
                for chunk in chunks {
                    for at in 0..SUMS {
                        sums[at] += chunk[at];
                    }
                }
                for (sum, x) in sums.iter_mut().zip(rest) {
                    *sum += x;
                }
            }
            Some(factors) => {
                let (others, rest_others) = factors.as_chunks::<SUMS>();
                for (chunk, other) in chunks.iter().zip(others) {
                    for at in 0..SUMS {
                        sums[at] += chunk[at] * other[at];
                    }
                }
                for ((sum, x), other) in sums.iter_mut().zip(rest).zip(rest_others) {
                    *sum += x * other;
                }
            }
        }
        sums.iter().sum()
    }
}
