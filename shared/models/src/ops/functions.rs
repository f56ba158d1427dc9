//! The activation functions, and their derivatives, in kernels for a GPU.

use cubecl::prelude::*;

use super::activation::{Activation, Gate};

/// The value of the activation at `z`.
#[cube]
pub fn activate(z: f32, #[comptime] activation: Activation) -> f32 {
    let mut value = z;
    if comptime!(activation == Activation::Relu) {
        value = select(z > 0.0f32, z, 0.0f32);
    }
    if comptime!(activation == Activation::Relu6) {
        value = z.clamp(0.0f32, 6.0f32);
    }
    if comptime!(activation == Activation::HardSwish) {
        value = z * ((z + 3.0f32).clamp(0.0f32, 6.0f32) / 6.0f32);
    }
    if comptime!(activation == Activation::Silu) {
        value = z / (1.0f32 + (-z).exp());
    }
    value
}

/// The derivative of the activation at `z`, or PyTorch's choice at points that have none.
#[cube]
pub fn derivative(z: f32, #[comptime] activation: Activation) -> f32 {
    let mut value = 1.0f32.runtime();
    if comptime!(activation == Activation::Relu) {
        value = select(z > 0.0f32, 1.0f32, 0.0f32);
    }
    if comptime!(activation == Activation::Relu6) {
        value = select(z > 0.0f32 && z < 6.0f32, 1.0f32, 0.0f32);
    }
    if comptime!(activation == Activation::HardSwish) {
        let between = z / 3.0f32 + 0.5f32;
        let upper = select(z < 3.0f32, between, 1.0f32);
        value = select(z > -3.0f32, upper, 0.0f32);
    }
    if comptime!(activation == Activation::Silu) {
        let gate = 1.0f32 / (1.0f32 + (-z).exp());
        value = gate * (1.0f32 + z * (1.0f32 - gate));
    }
    value
}

/// The value of the gate at `z`.
#[cube]
pub fn open(z: f32, #[comptime] gate: Gate) -> f32 {
    let mut value = (z + 3.0f32).clamp(0.0f32, 6.0f32) / 6.0f32;
    if comptime!(gate == Gate::Sigmoid) {
        value = 1.0f32 / (1.0f32 + (-z).exp());
    }
    value
}

/// The derivative of the gate at `z`.
#[cube]
pub fn slope(z: f32, #[comptime] gate: Gate) -> f32 {
    let mut value = select(z > -3.0f32 && z < 3.0f32, 1.0f32 / 6.0f32, 0.0f32);
    if comptime!(gate == Gate::Sigmoid) {
        let open = 1.0f32 / (1.0f32 + (-z).exp());
        value = open * (1.0f32 - open);
    }
    value
}
