//! Batch norm, with the statistics of the batch or with running statistics.

use burn::{
    module::{Flag, Module, Param, RunningState},
    tensor::{Tensor, module},
};

use super::pass::Pass;
#[cfg(feature = "gpu")]
use crate::ops::{GpuNorm, gpu_norm};
use crate::{
    error::ModelError,
    init::{Builder, Init},
    ops::{Activation, Kernels, batch_norm, fixed_norm},
};

/// The share by which a training step moves the running statistics towards the batch's.
///
/// torchvision uses 0.1 for MobileNetV2 and EfficientNet, 0.01 for MobileNetV3 and
/// 0.0003 for MnasNet. The smaller shares suit weeks of training: within the few hundred
/// steps of a run here the statistics would never reach those of the images, and the
/// network would evaluate no better than chance.
const MOMENTUM: f64 = 0.1;

/// Batch norm over the channels of images.
#[derive(Module, Debug)]
pub struct Norm {
    pub name: String,
    pub weight: Param<Tensor<1>>,
    pub bias: Param<Tensor<1>>,
    pub running_mean: RunningState<Tensor<1>>,
    /// The running mean of unbiased variances, as PyTorch keeps it.
    pub running_variance: RunningState<Tensor<1>>,
    training: Param<Flag>,
    epsilon: f64,
}

impl Norm {
    pub fn new(
        builder: &mut Builder,
        name: String,
        channels: usize,
        epsilon: f64,
    ) -> Result<Self, ModelError> {
        let shape = [channels];
        let of = |tensor: &str| format!("{name}.{tensor}");
        let (zero, one) = (Init::Constant(0.0), Init::Constant(1.0));
        Ok(Self {
            weight: builder.parameter(&of("weight"), shape, one)?,
            bias: builder.parameter(&of("bias"), shape, zero)?,
            running_mean: RunningState::new(builder.tensor(&of("running_mean"), shape, zero)?),
            running_variance: RunningState::new(builder.tensor(&of("running_var"), shape, one)?),
            training: Param::from_bool(true),
            epsilon,
            name,
        })
    }

    /// Computes `activation(norm(input)) + shortcut`.
    pub fn forward(
        &self,
        input: Tensor<4>,
        activation: Activation,
        shortcut: Option<Tensor<4>>,
        pass: Pass,
    ) -> Tensor<4> {
        let trains = input.device().is_autodiff() && self.training.val().is_enabled();
        match pass.recompute.or(trains.then_some(MOMENTUM)) {
            Some(share) => self.by_batch(input, activation, shortcut, share, pass.kernels),
            None => self.by_running(input, activation, shortcut, pass.kernels),
        }
    }

    fn by_batch(
        &self,
        input: Tensor<4>,
        activation: Activation,
        shortcut: Option<Tensor<4>>,
        share: f64,
        kernels: Kernels,
    ) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let (output, mean, variance) = match kernels {
            #[cfg(feature = "gpu")]
            Kernels::Gpu => return self.by_batch_on_gpu(input, activation, shortcut, share),
            Kernels::Own => {
                let of = batch_norm(input, weight, bias, shortcut, self.epsilon, activation);
                (of.output, of.mean, of.variance)
            }
            Kernels::Burn => {
                let [images, _, height, width] = input.dims();
                let count = (images * height * width) as f64;
                let of = module::batch_norm_train(input, weight, bias, self.epsilon);
                let unbiased = of.variance * (count / (count - 1.0).max(1.0));
                (finish(of.output, activation, shortcut), of.mean, unbiased)
            }
        };
        for (state, batch) in [
            (&self.running_mean, mean),
            (&self.running_variance, variance),
        ] {
            let moved = state.value_sync() * (1.0 - share) + batch.detach() * share;
            state.update(moved.detach());
        }
        output
    }

    #[cfg(feature = "gpu")]
    fn by_batch_on_gpu(
        &self,
        input: Tensor<4>,
        activation: Activation,
        shortcut: Option<Tensor<4>>,
        share: f64,
    ) -> Tensor<4> {
        let norm = GpuNorm {
            weight: self.weight.val(),
            bias: self.bias.val(),
            shortcut,
            running_mean: self.running_mean.value_sync(),
            running_variance: self.running_variance.value_sync(),
            epsilon: self.epsilon,
            share,
            activation,
        };
        let (output, mean, variance) = gpu_norm(input, norm);
        self.running_mean.update(mean);
        self.running_variance.update(variance);
        output
    }

    fn by_running(
        &self,
        input: Tensor<4>,
        activation: Activation,
        shortcut: Option<Tensor<4>>,
        kernels: Kernels,
    ) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let (mean, variance) = (
            self.running_mean.value_sync(),
            self.running_variance.value_sync(),
        );
        // A frozen norm in a network that trains needs gradients, which only Burn's
        // operation computes.
        if kernels == Kernels::Own && !input.device().is_autodiff() {
            let epsilon = self.epsilon;
            return fixed_norm(
                input, weight, bias, mean, variance, shortcut, epsilon, activation,
            );
        }
        let output = module::batch_norm(input, weight, bias, mean, variance, self.epsilon);
        finish(output, activation, shortcut)
    }
}

fn finish(output: Tensor<4>, activation: Activation, shortcut: Option<Tensor<4>>) -> Tensor<4> {
    let output = activation.forward(output);
    match shortcut {
        Some(shortcut) => output + shortcut,
        None => output,
    }
}
