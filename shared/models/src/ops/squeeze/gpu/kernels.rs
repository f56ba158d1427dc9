//! The kernels of squeeze-and-excitation on a GPU. Images are `[images, pixels, channels]`.

use cubecl::prelude::*;

use crate::ops::{
    activation::{Activation, Gate},
    functions::{activate, derivative, open, slope},
};

/// The mean of the pixels of each image, `[images, channels]`.
#[cube(launch)]
pub fn means(
    input: &[f32],
    output: &mut [f32],
    pixels: usize,
    channels: usize,
    #[comptime] lanes: usize,
    #[comptime] depth: usize,
) {
    let unit = UNIT_POS_Y as usize;
    let channel = CUBE_POS_X as usize * lanes + UNIT_POS_X as usize;
    let image = CUBE_POS_Y as usize;
    let mut sum = 0.0f32;
    if channel < channels {
        let mut pixel = unit;
        while pixel < pixels {
            sum += input[(image * pixels + pixel) * channels + channel];
            pixel += depth;
        }
    }
    let sum = sum_of_units(sum, lanes, depth);
    if unit == 0 && channel < channels {
        output[image * channels + channel] = sum / f32::cast_from(pixels);
    }
}

/// The gradient with respect to the argument of the gate, `[images, channels]`.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
pub fn gate_gradients(
    input: &[f32],
    gradient: &[f32],
    gates: &[f32],
    output: &mut [f32],
    pixels: usize,
    channels: usize,
    #[comptime] gate: Gate,
    #[comptime] lanes: usize,
    #[comptime] depth: usize,
) {
    let unit = UNIT_POS_Y as usize;
    let channel = CUBE_POS_X as usize * lanes + UNIT_POS_X as usize;
    let image = CUBE_POS_Y as usize;
    let mut sum = 0.0f32;
    if channel < channels {
        let mut pixel = unit;
        while pixel < pixels {
            let at = (image * pixels + pixel) * channels + channel;
            sum += input[at] * gradient[at];
            pixel += depth;
        }
    }
    let sum = sum_of_units(sum, lanes, depth);
    if unit == 0 && channel < channels {
        let at = image * channels + channel;
        output[at] = sum * slope(gates[at], gate);
    }
}

/// The sum of the values of all units of a channel, in its first unit.
#[cube]
fn sum_of_units(own: f32, #[comptime] lanes: usize, #[comptime] depth: usize) -> f32 {
    let mut sums = Shared::new_slice(lanes * depth);
    let lane = UNIT_POS_X as usize;
    let unit = UNIT_POS_Y as usize;
    let at = unit * lanes + lane;
    sums[at] = own;
    sync_cube();
    let mut active = depth.runtime();
    while active > 1 {
        active /= 2;
        if unit < active {
            sums[at] += sums[at + active * lanes];
        }
        sync_cube();
    }
    sums[lane]
}

/// A fully connected layer, `[images, outputs]`, of what `activation` makes of its input
/// `[images, inputs]`. The weight is `[outputs, inputs]`.
#[cube(launch)]
pub fn layer(
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
    inputs: usize,
    outputs: usize,
    #[comptime] activation: Activation,
) {
    let at = ABSOLUTE_POS;
    if at < output.len() {
        let image = at / outputs;
        let to = at % outputs;
        let mut sum = bias[to];
        for from in 0..inputs {
            let value = activate(input[image * inputs + from], activation);
            sum += weight[to * inputs + from] * value;
        }
        output[at] = sum;
    }
}

/// The gradients with respect to the weight and the bias of a layer.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
pub fn layer_gradients(
    input: &[f32],
    gradient: &[f32],
    weight_gradient: &mut [f32],
    bias_gradient: &mut [f32],
    images: usize,
    inputs: usize,
    outputs: usize,
    #[comptime] activation: Activation,
) {
    let at = ABSOLUTE_POS;
    if at < weight_gradient.len() {
        let to = at / inputs;
        let from = at % inputs;
        let mut sum = 0.0f32;
        let mut all = 0.0f32;
        for image in 0..images {
            let own = gradient[image * outputs + to];
            sum += own * activate(input[image * inputs + from], activation);
            all += own;
        }
        weight_gradient[at] = sum;
        if from == 0 {
            bias_gradient[to] = all;
        }
    }
}

/// The gradient with respect to the input of a layer, before its activation.
#[cube(launch)]
pub fn layer_input_gradient(
    input: &[f32],
    gradient: &[f32],
    weight: &[f32],
    output: &mut [f32],
    inputs: usize,
    outputs: usize,
    #[comptime] activation: Activation,
) {
    let at = ABSOLUTE_POS;
    if at < output.len() {
        let image = at / inputs;
        let from = at % inputs;
        let mut sum = 0.0f32;
        for to in 0..outputs {
            sum += gradient[image * outputs + to] * weight[to * inputs + from];
        }
        output[at] = sum * derivative(input[at], activation);
    }
}

/// `input · gate`, plus the share of each pixel in the gradient with respect to the means, if there
/// is one.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
pub fn scale(
    input: &[f32],
    gates: &[f32],
    mean_gradient: ComptimeOption<&[f32]>,
    output: &mut [f32],
    pixels: usize,
    channels: usize,
    #[comptime] gate: Gate,
) {
    let at = ABSOLUTE_POS;
    if at < output.len() {
        let of = at / (pixels * channels) * channels + at % channels;
        let value = input[at] * open(gates[of], gate);
        let more: ComptimeOption<f32> = mean_gradient.as_ref().map(|gradient| gradient[of]);
        output[at] = value + more.unwrap_or(0.0f32) / f32::cast_from(pixels);
    }
}
