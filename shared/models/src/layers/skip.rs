//! Stochastic depth.

use burn::{
    module::{Flag, Module, Param},
    tensor::{Distribution, Tensor},
};

use super::pass::Pass;

/// Lets random images of a training batch skip a block, after Huang et al., "Deep
/// Networks with Stochastic Depth" (2016). The values of the others are scaled up, so that
/// the mean stays.
#[derive(Module, Debug)]
pub struct StochasticDepth {
    /// The probability that an image skips the block.
    probability: f64,
    training: Param<Flag>,
}

impl StochasticDepth {
    pub fn new(probability: f64) -> Self {
        Self {
            probability,
            training: Param::from_bool(true),
        }
    }

    /// Returns whether a pass with this `input` skips anything: only training does.
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
