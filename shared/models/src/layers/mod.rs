//! The layers that a network is made of. Each knows its name in torchvision.

mod convolution;
mod linear;
mod norm;
mod pair;
mod skip;
mod squeeze;

pub use convolution::Convolution;
pub use linear::Linear;
pub use norm::Norm;
pub use pair::{ConvNorm, ConvNormConfig};
pub use skip::StochasticDepth;
pub use squeeze::SqueezeExcite;

use crate::ops::Kernels;

/// How one pass through a network computes.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    pub kernels: Kernels,
    /// When set, batch norm takes the batch's statistics, whatever the device, and
    /// moves the running ones by this share.
    pub recompute: Option<f64>,
}
