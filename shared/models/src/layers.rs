//! The layers that a network is made of. Each knows its name in torchvision's state
//! dict.

mod convolution;
mod linear;
mod norm;
mod pair;
mod pass;
mod skip;
mod squeeze;

pub use convolution::Convolution;
pub use linear::Linear;
pub use norm::Norm;
pub use pair::{ConvNorm, ConvNormConfig};
pub use pass::Pass;
pub use skip::StochasticDepth;
pub use squeeze::SqueezeExcite;
