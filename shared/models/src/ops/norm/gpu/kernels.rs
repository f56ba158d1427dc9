//! The kernels of batch norm on a GPU.

use cubecl::prelude::*;

use crate::ops::{
    activation::Activation,
    functions::{activate, derivative},
};

/// The mean of the rows of each part, and the sum of the squares of their distances to it, both
/// `[parts, channels]`.
#[cube(launch)]
pub fn partial_statistics(
    input: &[f32],
    means: &mut [f32],
    squares: &mut [f32],
    rows: usize,
    channels: usize,
    rows_of_part: usize,
    #[comptime] lanes: usize,
    #[comptime] depth: usize,
) {
    let mut counts = Shared::new_slice(lanes * depth);
    let mut all_means = Shared::new_slice(lanes * depth);
    let mut all_squares = Shared::new_slice(lanes * depth);
    let lane = UNIT_POS_X as usize;
    let unit = UNIT_POS_Y as usize;
    let channel = CUBE_POS_X as usize * lanes + lane;
    let part = CUBE_POS_Y as usize;
    let end = end_of_part(part, rows_of_part, rows);

    // Values are taken relative to the first, so that little is lost when squares are subtracted.
    let mut first = 0.0f32;
    let mut sum = 0.0f32;
    let mut square = 0.0f32;
    let mut count = 0.0f32;
    if channel < channels {
        let mut row = part * rows_of_part + unit;
        if row < end {
            first = input[row * channels + channel];
        }
        while row < end {
            let value = input[row * channels + channel] - first;
            sum += value;
            square += value * value;
            count += 1.0f32;
            row += depth;
        }
    }
    let some = select(count > 0.0f32, count, 1.0f32);
    let at = unit * lanes + lane;
    counts[at] = count;
    all_means[at] = first + sum / some;
    all_squares[at] = square - sum * sum / some;
    combine_statistics(&mut counts, &mut all_means, &mut all_squares, lanes, depth);
    if unit == 0 && channel < channels {
        means[part * channels + channel] = all_means[lane];
        squares[part * channels + channel] = all_squares[lane];
    }
}

/// `activation(norm(input)) + shortcut` by the statistics of the parts. The statistics of all rows
/// are `[channels]`: the mean, the biased variance, and the running mean and variance, which are
/// moved by `share` towards those of the rows.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
pub fn normalize(
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    shortcut: ComptimeOption<&[f32]>,
    part_means: &[f32],
    part_squares: &[f32],
    old_mean: &[f32],
    old_variance: &[f32],
    output: &mut [f32],
    mean: &mut [f32],
    variance: &mut [f32],
    new_mean: &mut [f32],
    new_variance: &mut [f32],
    rows: usize,
    channels: usize,
    parts: usize,
    rows_of_part: usize,
    rows_of_cube: usize,
    epsilon: f32,
    share: f32,
    #[comptime] activation: Activation,
    #[comptime] lanes: usize,
    #[comptime] depth: usize,
) {
    let mut counts = Shared::new_slice(lanes * depth);
    let mut means = Shared::new_slice(lanes * depth);
    let mut squares = Shared::new_slice(lanes * depth);
    let lane = UNIT_POS_X as usize;
    let unit = UNIT_POS_Y as usize;
    let channel = CUBE_POS_X as usize * lanes + lane;

    // Every cube combines the parts, which is less work than another kernel.
    let at = unit * lanes + lane;
    counts[at] = 0.0f32;
    means[at] = 0.0f32;
    squares[at] = 0.0f32;
    if channel < channels {
        let mut count = 0.0f32;
        let mut middle = 0.0f32;
        let mut square = 0.0f32;
        let mut part = unit;
        while part < parts {
            let end = end_of_part(part, rows_of_part, rows);
            let more = f32::cast_from(end - part * rows_of_part);
            let both = count + more;
            let apart = part_means[part * channels + channel] - middle;
            middle += apart * (more / both);
            square += part_squares[part * channels + channel];
            square += apart * apart * (count * more / both);
            count = both;
            part += depth;
        }
        counts[at] = count;
        means[at] = middle;
        squares[at] = square;
    }
    combine_statistics(&mut counts, &mut means, &mut squares, lanes, depth);

    if channel < channels {
        let count = f32::cast_from(rows);
        let middle = means[lane];
        let biased = squares[lane] / count;
        let block = CUBE_POS_Y as usize;
        if unit == 0 && block == 0 {
            let fewer = select(rows > 1, count - 1.0f32, 1.0f32);
            let unbiased = biased * (count / fewer);
            mean[channel] = middle;
            variance[channel] = biased;
            new_mean[channel] = old_mean[channel] * (1.0f32 - share) + middle * share;
            new_variance[channel] = old_variance[channel] * (1.0f32 - share) + unbiased * share;
        }
        let scale = weight[channel] / (biased + epsilon).sqrt();
        let shift = bias[channel];
        let end = end_of_part(block, rows_of_cube, rows);
        let mut row = block * rows_of_cube + unit;
        while row < end {
            let index = row * channels + channel;
            let value = activate((input[index] - middle) * scale + shift, activation);
            let more: ComptimeOption<f32> = shortcut.as_ref().map(|shortcut| shortcut[index]);
            output[index] = value + more.unwrap_or(0.0f32);
            row += depth;
        }
    }
}

/// The sums that the gradients are made of, `[parts, channels]`: of the gradient with respect to the
/// output of the norm, and of its product with the normalized input.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
pub fn partial_gradients(
    input: &[f32],
    gradient: &[f32],
    weight: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
    sums: &mut [f32],
    products: &mut [f32],
    rows: usize,
    channels: usize,
    rows_of_part: usize,
    epsilon: f32,
    #[comptime] activation: Activation,
    #[comptime] lanes: usize,
    #[comptime] depth: usize,
) {
    let mut all_sums = Shared::new_slice(lanes * depth);
    let mut all_products = Shared::new_slice(lanes * depth);
    let lane = UNIT_POS_X as usize;
    let unit = UNIT_POS_Y as usize;
    let channel = CUBE_POS_X as usize * lanes + lane;
    let part = CUBE_POS_Y as usize;
    let end = end_of_part(part, rows_of_part, rows);

    let mut sum = 0.0f32;
    let mut product = 0.0f32;
    if channel < channels {
        let middle = mean[channel];
        let inverse = 1.0f32 / (variance[channel] + epsilon).sqrt();
        let (scale, shift) = (weight[channel], bias[channel]);
        let mut row = part * rows_of_part + unit;
        while row < end {
            let index = row * channels + channel;
            let normal = (input[index] - middle) * inverse;
            let own = gradient[index] * derivative(normal * scale + shift, activation);
            sum += own;
            product += own * normal;
            row += depth;
        }
    }
    let at = unit * lanes + lane;
    all_sums[at] = sum;
    all_products[at] = product;
    combine_sums(&mut all_sums, &mut all_products, lanes, depth);
    if unit == 0 && channel < channels {
        sums[part * channels + channel] = all_sums[lane];
        products[part * channels + channel] = all_products[lane];
    }
}

/// The gradients with respect to the input, the weight and the bias, by the sums of the parts.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
pub fn gradients(
    input: &[f32],
    gradient: &[f32],
    weight: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
    part_sums: &[f32],
    part_products: &[f32],
    input_gradient: &mut [f32],
    weight_gradient: &mut [f32],
    bias_gradient: &mut [f32],
    rows: usize,
    channels: usize,
    parts: usize,
    rows_of_cube: usize,
    epsilon: f32,
    #[comptime] activation: Activation,
    #[comptime] lanes: usize,
    #[comptime] depth: usize,
) {
    let mut sums = Shared::new_slice(lanes * depth);
    let mut products = Shared::new_slice(lanes * depth);
    let lane = UNIT_POS_X as usize;
    let unit = UNIT_POS_Y as usize;
    let channel = CUBE_POS_X as usize * lanes + lane;

    let mut sum = 0.0f32;
    let mut product = 0.0f32;
    if channel < channels {
        let mut part = unit;
        while part < parts {
            sum += part_sums[part * channels + channel];
            product += part_products[part * channels + channel];
            part += depth;
        }
    }
    let at = unit * lanes + lane;
    sums[at] = sum;
    products[at] = product;
    combine_sums(&mut sums, &mut products, lanes, depth);

    if channel < channels {
        let block = CUBE_POS_Y as usize;
        if unit == 0 && block == 0 {
            bias_gradient[channel] = sums[lane];
            weight_gradient[channel] = products[lane];
        }
        let count = f32::cast_from(rows);
        let mean_sum = sums[lane] / count;
        let mean_product = products[lane] / count;
        let middle = mean[channel];
        let inverse = 1.0f32 / (variance[channel] + epsilon).sqrt();
        let (scale, shift) = (weight[channel], bias[channel]);
        let end = end_of_part(block, rows_of_cube, rows);
        let mut row = block * rows_of_cube + unit;
        while row < end {
            let index = row * channels + channel;
            let normal = (input[index] - middle) * inverse;
            let own = gradient[index] * derivative(normal * scale + shift, activation);
            input_gradient[index] = scale * inverse * (own - mean_sum - normal * mean_product);
            row += depth;
        }
    }
}

/// The row after the last of a part.
#[cube]
fn end_of_part(part: usize, rows_of_part: usize, rows: usize) -> usize {
    let end = (part + 1) * rows_of_part;
    select(end < rows, end, rows)
}

/// Combines the statistics of the units of each channel into those of its first unit, after Chan,
/// Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances"
/// (1979).
#[cube]
fn combine_statistics(
    counts: &mut Shared<[f32]>,
    means: &mut Shared<[f32]>,
    squares: &mut Shared<[f32]>,
    #[comptime] lanes: usize,
    #[comptime] depth: usize,
) {
    let unit = UNIT_POS_Y as usize;
    let at = unit * lanes + UNIT_POS_X as usize;
    sync_cube();
    let mut active = depth.runtime();
    while active > 1 {
        active /= 2;
        if unit < active {
            let other = at + active * lanes;
            let count = counts[at];
            let more = counts[other];
            let both = count + more;
            if more > 0.0f32 {
                let apart = means[other] - means[at];
                means[at] += apart * (more / both);
                squares[at] += squares[other] + apart * apart * (count * more / both);
            }
            counts[at] = both;
        }
        sync_cube();
    }
}

/// Adds up the sums of the units of each channel in its first unit.
#[cube]
fn combine_sums(
    sums: &mut Shared<[f32]>,
    products: &mut Shared<[f32]>,
    #[comptime] lanes: usize,
    #[comptime] depth: usize,
) {
    let unit = UNIT_POS_Y as usize;
    let at = unit * lanes + UNIT_POS_X as usize;
    sync_cube();
    let mut active = depth.runtime();
    while active > 1 {
        active /= 2;
        if unit < active {
            let other = at + active * lanes;
            sums[at] += sums[other];
            products[at] += products[other];
        }
        sync_cube();
    }
}
