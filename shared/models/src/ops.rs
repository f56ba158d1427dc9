//! The operations that training spends its time in, written for the CPU.
//!
//! Burn's flex backend computes each elementwise operation on one thread and into a
//! new tensor, and it makes a batch norm of eight of them. MobileNetV2 then trains at
//! a fifth of PyTorch's speed. The operations here are few and large, they share the
//! images or channels among all threads, and they compute their own gradients;
//! `benches/training.rs` measures what that gains. They add in a fixed order,
//! whatever the number of threads, so the same seed gives the same network.
//!
//! Each operation is a backend extension on `Flex` and on `Autodiff<Flex>`. A device
//! of any other backend uses Burn's operations; `Kernels::of` chooses.
//!
//! * `activation`: the activation functions and their derivatives.
//! * `convolution`: depthwise, pointwise and general convolution.
//! * `norm`: batch norm.
//! * `squeeze`: squeeze-and-excitation.
//! * `autodiff`: how an operation of ours takes part in Burn's backward pass.
//! * `buffer`, `matrix`, `simd`: what the operations are written with.

mod activation;
mod autodiff;
mod buffer;
mod convolution;
mod matrix;
mod norm;
mod prelude;
pub mod simd;
mod squeeze;

use burn::{backend::DispatchDevice, tensor::Device};

pub use activation::{Activation, Gate};
pub use convolution::{Padding, depthwise, pointwise, stem};
pub use norm::{Normalized, batch_norm, fixed_norm};
pub use squeeze::{SqueezeLayers, squeeze_excite};

/// The operations that compute a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// The operations of this module.
    Own,
    /// Burn's operations.
    Burn,
}

impl Kernels {
    /// Chooses our own operations for the CPU's flex backend, and Burn's for every
    /// other device.
    pub fn of(device: &Device) -> Self {
        match device.clone().without_autodiff().as_dispatch() {
            DispatchDevice::Flex(_) => Self::Own,
            _ => Self::Burn,
        }
    }
}
