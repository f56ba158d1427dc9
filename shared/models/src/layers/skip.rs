//! Stochastic depth.

use burn::{
    module::{Flag, Module, Param},
    tensor::{Distribution, Tensor},
};

use super::Pass;

/// In training, some images of a batch skip a block. The others'
/// values are scaled up, so that their mean stays. Huang et al., 2016.
#[derive(Module, Debug)]
pub struct StochasticDepth {
    pub probability: f64,
    training: Param<Flag>,
}

impl StochasticDepth {
    pub fn new(probability: f64) -> Self {
        Self {
            probability,
            training: Param::from_bool(true),
        }
    }

    /// Whether a pass on what `input` is on skips anything.
    pub fn is_active(&self, input: &Tensor<4>, pass: Pass) -> bool {
        self.probability > 0.0
            && pass.recompute.is_none()
            && input.device().is_autodiff()
            && self.training.val().is_enabled()
    }

    /// Zeroes the images that skip the block.
    pub fn forward(&self, output: Tensor<4>) -> Tensor<4> {
        let kept = 1.0 - self.probability;
        let shape = [output.dims()[0], 1, 1, 1];
        let distribution = Distribution::Bernoulli(kept);
        let mask = Tensor::random(shape, distribution, &output.device()) / kept;
        output * mask
    }
}
