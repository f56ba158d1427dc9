//! How a step moves weights.

use burn::tensor::Tensor;

#[cfg(feature = "gpu")]
use super::gpu;
use crate::ops::Kernels;

/// How a step moves weights. What it keeps of them from step to step are their moments.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019). The moments are the
    /// running means of the gradient and of the square of the gradient.
    AdamW {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
    },
    /// Nesterov momentum as in PyTorch: the only moment is the velocity, and weight decay is a part
    /// of the gradient.
    Nesterov { momentum: f64 },
}

/// How weights are moved in a step.
#[derive(Clone, Copy)]
pub(super) struct StepOfRule {
    pub(super) kernels: Kernels,
    /// The number of this step, counted from 1.
    pub(super) steps: u32,
    pub(super) rate: f64,
    /// The weight decay. 0 if it does not apply.
    pub(super) decay: f64,
}

impl Rule {
    /// Returns the values of weights and their moments after a step. Before the first step there are
    /// no moments.
    pub(super) fn moved(
        self,
        step: StepOfRule,
        value: Tensor<1>,
        gradient: Tensor<1>,
        moments: Vec<Tensor<1>>,
    ) -> (Tensor<1>, Vec<Tensor<1>>) {
        let StepOfRule {
            kernels,
            steps,
            rate,
            decay,
        } = step;
        // Both means of AdamW start at 0 and are too small by these factors.
        let correction = |beta: f64| 1.0 - beta.powf(f64::from(steps));
        match (self, kernels) {
            #[cfg(feature = "gpu")]
            (
                Self::AdamW {
                    beta_1,
                    beta_2,
                    epsilon,
                },
                Kernels::Gpu,
            ) => {
                let numbers = gpu::AdamW {
                    beta_1,
                    beta_2,
                    epsilon,
                    square_correction: correction(beta_2).sqrt(),
                    kept: 1.0 - rate * decay,
                    rate: rate / correction(beta_1),
                };
                gpu::move_by_adamw(value, gradient, moments.try_into().ok(), numbers)
            }
            #[cfg(feature = "gpu")]
            (Self::Nesterov { momentum }, Kernels::Gpu) => {
                let numbers = gpu::Nesterov {
                    momentum,
                    decay,
                    rate,
                };
                gpu::move_by_nesterov(value, gradient, moments.try_into().ok(), numbers)
            }
            (
                Self::AdamW {
                    beta_1,
                    beta_2,
                    epsilon,
                },
                _,
            ) => {
                let (squares, mean, mean_square);
                squares = gradient.clone().powi_scalar(2);
                match <[_; 2]>::try_from(moments) {
                    Ok([first, second]) => {
                        mean = first * beta_1 + gradient * (1.0 - beta_1);
                        mean_square = second * beta_2 + squares * (1.0 - beta_2);
                    }
                    Err(_) => {
                        mean = gradient * (1.0 - beta_1);
                        mean_square = squares * (1.0 - beta_2);
                    }
                }
                let spread = mean_square.clone().sqrt() / correction(beta_2).sqrt() + epsilon;
                let towards = mean.clone() / spread * (rate / correction(beta_1));
                let kept = if decay == 0.0 {
                    value
                } else {
                    value * (1.0 - rate * decay)
                };
                (kept - towards, vec![mean, mean_square])
            }
            (Self::Nesterov { momentum }, _) => {
                let gradient = if decay == 0.0 {
                    gradient
                } else {
                    gradient + value.clone() * decay
                };
                let velocity = match <[_; 1]>::try_from(moments) {
                    Ok([velocity]) => velocity * momentum + gradient.clone(),
                    Err(_) => gradient.clone(),
                };
                let towards = gradient + velocity.clone() * momentum;
                (value - towards * rate, vec![velocity])
            }
        }
    }
}
