//! The operations that training spends its time in, written for the CPU.
//!
//! Burn's flex backend computes elementwise operations on one thread, each into a
//! new tensor, and makes a batch norm of eight of them: MobileNetV2 trains at a
//! fifth of PyTorch's speed. The operations here are few and large, share the
//! images or channels among all threads, and bring their own gradients; see
//! `benches/training.rs` for what they gain. They compute in a fixed order,
//! whatever the number of threads: the same seed gives the same network.
//!
//! Each is a backend extension on `Flex` and on `Autodiff<Flex>`; a device of any
//! other backend takes Burn's operations ([`Kernels::of`]).

pub mod activation;
pub mod depthwise;
mod matrix;
pub mod norm;
pub mod pointwise;
mod simd;
pub mod squeeze;
pub mod stem;

use std::mem::MaybeUninit;

use burn::{
    backend::{DispatchDevice, flex::FlexTensor},
    tensor::{Device, TensorData},
};

pub use activation::{Activation, Gate};

/// Whose operations compute a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// Those of this module.
    Own,
    Burn,
}

impl Kernels {
    /// Our own where they run: on the CPU, by the flex backend.
    pub fn of(device: &Device) -> Self {
        match device.clone().without_autodiff().as_dispatch() {
            DispatchDevice::Flex(_) => Self::Own,
            _ => Self::Burn,
        }
    }
}

/// In how many parts a batch is summed. Fixed, so that sums are rounded alike on
/// every machine; enough to keep as many threads busy.
const PARTS: usize = 8;

/// How many images of a batch make a part.
fn images_a_part(images: usize) -> usize {
    images.div_ceil(PARTS).max(1)
}

/// The sum of equally long vectors, in their order.
fn sum(parts: Vec<Vec<f32>>) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        for (total, value) in total.iter_mut().zip(part) {
            *total += value;
        }
    }
    total
}

/// A vector that `fill` writes, every value of it, without zeroing it first.
///
/// # Safety
/// `fill` must initialize every value.
unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    fill(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and `fill` has initialized as many.
    unsafe { values.set_len(len) };
    values
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The values of a tensor made contiguous by `to_contiguous`.
fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.storage()
}
