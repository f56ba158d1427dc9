//! Batch norm, the activation that follows it and the block's shortcut, as one
//! operation that reads its input twice and writes once.
//!
//! Ioffe and Szegedy, *Batch Normalization*, 2015.

mod backward;
mod forward;
mod layout;

use std::sync::Arc;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, ExtensionType, Flex,
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

use self::{backward::backward, forward::forward};
use super::{activation::Activation, tensor};

/// What [`batch_norm`] gives.
pub struct Normalized {
    /// Of the input's shape.
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

/// As [`batch_norm`], with a given mean and variance and without a gradient.
///
/// # Panics
/// On an autodiff device.
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

/// What is added in the end: an `Option`, which an extension can't take.
#[derive(ExtensionType)]
pub enum Shortcut<B: Backend> {
    None,
    Of(FloatTensor<B>),
}

impl<B: Backend> Shortcut<B> {
    fn new(shortcut: Option<FloatTensor<B>>) -> Self {
        shortcut.map_or(Self::None, Self::Of)
    }

    fn tensor(self) -> Option<FloatTensor<B>> {
        match self {
            Self::None => None,
            Self::Of(tensor) => Some(tensor),
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
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shortcut: Shortcut<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        // Without a shortcut the fourth parent is a constant that nothing comes from.
        let none = || FloatTensor::<Self>::new(tensor(vec![0.0], [1]));
        let shortcut = shortcut.tensor();
        let has_shortcut = shortcut.is_some();
        let shortcut = shortcut.unwrap_or_else(none);
        let prepared = Step
            .prepare::<C>([input.node(), weight.node(), bias.node(), shortcut.node()])
            .compute_bound()
            .stateful();
        let (input, weight, bias) = (
            input.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
        );
        let shortcut = has_shortcut.then(|| shortcut.into_primitive());
        let (output, statistics) = forward(&input, &weight, &bias, shortcut, epsilon, activation);
        let (mean, variance) = tensors(&statistics);
        let output = match prepared {
            OpsKind::Tracked(step) => {
                let state = State {
                    input,
                    weight,
                    bias,
                    statistics: statistics.into(),
                    activation,
                };
                step.finish(state, output)
            }
            OpsKind::UnTracked(step) => step.finish(output),
        };
        let constant = FloatTensor::<Self>::new;
        (output, constant(mean), constant(variance))
    }
}

#[derive(Debug)]
struct Step;

#[derive(Debug, Clone)]
struct State {
    input: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    statistics: Arc<[Statistics]>,
    activation: Activation,
}

impl Backward<Flex, 4> for Step {
    type State = State;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [of_input, of_weight, of_bias, of_shortcut] = ops.parents;
        let (by_input, by_weight, by_bias) = backward(&ops.state, &gradient);
        if let Some(node) = of_shortcut {
            gradients.register::<Flex>(node.id, gradient);
        }
        for (node, gradient) in [
            (of_input, by_input),
            (of_weight, by_weight),
            (of_bias, by_bias),
        ] {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// Of one channel over a batch.
#[derive(Debug, Clone, Copy)]
struct Statistics {
    mean: f32,
    /// 1 / √(variance + ε), of the biased variance: what normalizes.
    inverse_deviation: f32,
    /// What the running variance learns from.
    unbiased_variance: f32,
}

fn tensors(statistics: &[Statistics]) -> (FlexTensor, FlexTensor) {
    let mean: Vec<f32> = statistics.iter().map(|of| of.mean).collect();
    let variance: Vec<f32> = statistics.iter().map(|of| of.unbiased_variance).collect();
    let channels = [statistics.len()];
    (tensor(mean, channels), tensor(variance, channels))
}
