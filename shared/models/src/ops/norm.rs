//! Batch norm, the activation that follows it and the block's shortcut, as one
//! operation. It reads its input twice and writes its output once.
//!
//! Ioffe and Szegedy, *Batch Normalization*, 2015.

mod backward;
mod forward;
#[cfg(feature = "gpu")]
mod gpu;
mod layout;
mod statistics;

use burn::backend::ExtensionType;

use self::{backward::Saved, forward::forward, statistics::tensors};
use super::{activation::Activation, prelude::*};
#[cfg(feature = "gpu")]
pub use gpu::{GpuNorm, gpu_norm};

/// The results of [`batch_norm`].
pub struct Normalized {
    /// The output, of the input's shape.
    pub output: Tensor<4>,
    /// The batch's mean by channel, without a gradient.
    pub mean: Tensor<1>,
    /// The batch's unbiased variance by channel, without a gradient.
    pub variance: Tensor<1>,
}

/// `activation(norm(input) · weight + bias) + shortcut` on the CPU, with the mean
/// and variance of the batch.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weight`, `bias`: `[channels]`
/// * `shortcut`: of the input's shape
pub fn batch_norm(
    input: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    shortcut: Option<Tensor<4>>,
    epsilon: f64,
    activation: Activation,
) -> Normalized {
    let (output, mean, variance) = <Dispatch as BatchNormOps>::batch_norm(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        Shortcut::new(shortcut.map(Tensor::into_dispatch)),
        epsilon,
        activation,
    );
    Normalized {
        output: Tensor::from_dispatch(output),
        mean: Tensor::from_dispatch(mean),
        variance: Tensor::from_dispatch(variance),
    }
}

/// Computes the same as [`batch_norm`] with a given mean and variance, and without a gradient.
///
/// # Panics
/// Panics on an autodiff device.
#[allow(clippy::too_many_arguments)]
pub fn fixed_norm(
    input: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    shortcut: Option<Tensor<4>>,
    epsilon: f64,
    activation: Activation,
) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as FixedNormOps>::fixed_norm(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        mean.into_dispatch(),
        variance.into_dispatch(),
        Shortcut::new(shortcut.map(Tensor::into_dispatch)),
        epsilon,
        activation,
    ))
}

/// An optional tensor that is added in the end. An extension can't take an `Option`.
#[derive(ExtensionType)]
pub enum Shortcut<B: Backend> {
    None,
    Some(FloatTensor<B>),
}

impl<B: Backend> Shortcut<B> {
    fn new(shortcut: Option<FloatTensor<B>>) -> Self {
        shortcut.map_or(Self::None, Self::Some)
    }

    fn tensor(self) -> Option<FloatTensor<B>> {
        match self {
            Self::None => None,
            Self::Some(tensor) => Some(tensor),
        }
    }
}

#[backend_extension(Autodiff, Flex)]
pub trait BatchNormOps: Backend {
    #[allow(clippy::type_complexity)]
    fn batch_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        #[extension_type] shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[backend_extension(Flex)]
pub trait FixedNormOps: Backend {
    #[allow(clippy::too_many_arguments)]
    fn fixed_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        #[extension_type] shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> FloatTensor<Self>;
}

impl BatchNormOps for Flex {
    fn batch_norm(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let shortcut = shortcut.tensor();
        let (output, statistics) = forward(&input, &weight, &bias, shortcut, epsilon, activation);
        let (mean, variance) = tensors(&statistics);
        (output, mean, variance)
    }
}

impl FixedNormOps for Flex {
    fn fixed_norm(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> FlexTensor {
        let shortcut = shortcut.tensor();
        forward::fixed(
            input, &weight, &bias, &mean, &variance, shortcut, epsilon, activation,
        )
    }
}

impl<C: CheckpointStrategy> BatchNormOps for Autodiff<Flex, C> {
    fn batch_norm(
        input: AutodiffTensor,
        weight: AutodiffTensor,
        bias: AutodiffTensor,
        shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> (AutodiffTensor, AutodiffTensor, AutodiffTensor) {
        let constant = FloatTensor::<Self>::new;
        let shortcut = shortcut.tensor();
        let has_shortcut = shortcut.is_some();
        // An operation has a fixed number of inputs. Without a shortcut the fourth is a
        // constant, which has no gradient.
        let shortcut = shortcut.unwrap_or_else(|| constant(tensor(vec![0.0], [1])));
        let (nodes, [input, weight, bias, shortcut]) = into_parts([input, weight, bias, shortcut]);
        let shortcut = has_shortcut.then_some(shortcut);
        let (output, statistics) = forward(&input, &weight, &bias, shortcut, epsilon, activation);
        let (mean, variance) = tensors(&statistics);
        let saved = Saved {
            input,
            weight,
            bias,
            statistics: statistics.into(),
            activation,
        };
        let output = track::<C, _, 4>(nodes, output, saved);
        (output, constant(mean), constant(variance))
    }
}
