//! The operations that training spends its time in, written for the CPU, and some for a GPU.
//!
//! Burn's flex backend computes each elementwise operation on one thread and into a
//! new tensor, and it makes a batch norm of eight of them. MobileNetV2 then trains at
//! a fifth of PyTorch's speed. The operations here are few and large, they share the
//! images or channels among all threads, and they compute their own gradients;
//! `benches/training.rs` measures what that gains. They add in a fixed order,
//! whatever the number of threads, so the same seed gives the same network.
//!
//! Each operation is a backend extension on `Flex` and on `Autodiff<Flex>`. Those in modules called
//! `gpu` are extensions on `Cube` and `Autodiff<Cube>`, with kernels in CubeCL; they replace what
//! Burn makes of many kernels there. All else is Burn's operations; `Kernels::of` chooses.
//!
//! * `activation`: the activation functions and their derivatives.
//! * `convolution`: depthwise, pointwise and general convolution.
//! * `norm`: batch norm.
//! * `squeeze`: squeeze-and-excitation.
//! * `autodiff`: how an operation of ours takes part in Burn's backward pass.
//! * `part`: parts of a flat tensor on a GPU.
//! * `buffer`, `matrix`, `simd`: what the operations are written with.
//! * `functions`, `launch`: what the kernels for a GPU are written and launched with.

mod activation;
mod autodiff;
mod buffer;
mod convolution;
#[cfg(feature = "gpu")]
mod functions;
#[cfg(feature = "gpu")]
pub(crate) mod launch;
mod matrix;
mod norm;
#[cfg(feature = "gpu")]
mod part;
pub(crate) mod prelude;
pub mod simd;
mod squeeze;

use burn::{backend::DispatchDevice, tensor::Device};

pub use activation::{Activation, Gate};
#[cfg(feature = "gpu")]
pub use convolution::gpu_depthwise;
pub use convolution::{Padding, depthwise, pointwise, stem};
#[cfg(feature = "gpu")]
pub use norm::{GpuNorm, gpu_norm};
pub use norm::{Normalized, batch_norm, fixed_norm};
#[cfg(feature = "gpu")]
pub use part::gpu_part;
#[cfg(feature = "gpu")]
pub use squeeze::gpu_squeeze_excite;
pub use squeeze::{SqueezeLayers, squeeze_excite};

/// The operations that compute a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// The operations of this module for the CPU.
    Own,
    /// Those of this module for a GPU, and Burn's where it has none.
    #[cfg(feature = "gpu")]
    Gpu,
    /// Burn's operations.
    Burn,
}

impl Kernels {
    /// Chooses our own operations for the CPU's flex backend and for a GPU, and Burn's for every
    /// other device.
    pub fn of(device: &Device) -> Self {
        match device.clone().without_autodiff().as_dispatch() {
            DispatchDevice::Flex(_) => Self::Own,
            #[cfg(feature = "gpu")]
            DispatchDevice::Cube(_) => Self::Gpu,
            _ => Self::Burn,
        }
    }
}
