//! The kernels of depthwise convolution on a GPU.

use cubecl::prelude::*;

/// The sizes of a convolution.
#[derive(CubeLaunch, CubeType)]
pub struct Sizes {
    pub height: usize,
    pub width: usize,
    pub output_height: usize,
    pub output_width: usize,
    pub stride: usize,
    /// The number of zeros above the input, and below it.
    pub above: usize,
    /// The number of zeros at its left, and at its right.
    pub left: usize,
}

/// What each part of the output's lines adds to the gradient with respect to the filters,
/// `[parts, channels, kernel, kernel]`.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
pub fn partial_filter_gradients(
    input: &[f32],
    gradient: &[f32],
    partial: &mut [f32],
    lines: usize,
    channels: usize,
    lines_of_part: usize,
    sizes: Sizes,
    #[comptime] kernel: usize,
    #[comptime] lanes: usize,
    #[comptime] depth: usize,
) {
    let taps = comptime!(kernel * kernel);
    let mut sums = Array::<f32>::new(taps);
    #[unroll]
    for tap in 0..taps {
        sums[tap] = 0.0f32;
    }
    let lane = UNIT_POS_X as usize;
    let unit = UNIT_POS_Y as usize;
    let channel = CUBE_POS_X as usize * lanes + lane;
    let part = CUBE_POS_Y as usize;
    let end = (part + 1) * lines_of_part;
    let end = select(end < lines, end, lines);
    if channel < channels {
        let mut line = part * lines_of_part + unit;
        while line < end {
            let image = line / sizes.output_height;
            let y = line % sizes.output_height;
            for x in 0..sizes.output_width {
                let own = gradient[(line * sizes.output_width + x) * channels + channel];
                #[unroll]
                for v in 0..kernel {
                    let from_y = y * sizes.stride + v;
                    if from_y >= sizes.above && from_y < sizes.height + sizes.above {
                        let row = image * sizes.height + from_y - sizes.above;
                        #[unroll]
                        for u in 0..kernel {
                            let from_x = x * sizes.stride + u;
                            if from_x >= sizes.left && from_x < sizes.width + sizes.left {
                                let pixel = row * sizes.width + from_x - sizes.left;
                                sums[v * kernel + u] += own * input[pixel * channels + channel];
                            }
                        }
                    }
                }
            }
            line += depth;
        }
    }
    let mut shared = Shared::new_slice(lanes * depth);
    let at = unit * lanes + lane;
    #[unroll]
    for tap in 0..taps {
        shared[at] = sums[tap];
        sync_cube();
        let mut active = depth.runtime();
        while active > 1 {
            active /= 2;
            if unit < active {
                shared[at] += shared[at + active * lanes];
            }
            sync_cube();
        }
        if unit == 0 && channel < channels {
            partial[(part * channels + channel) * taps + tap] = shared[lane];
        }
        sync_cube();
    }
}

/// The sum of all parts, `[values]`, of `[parts, values]`.
#[cube(launch)]
pub fn sum_of_parts(partial: &[f32], output: &mut [f32], parts: usize) {
    let at = ABSOLUTE_POS;
    if at < output.len() {
        let mut sum = 0.0f32;
        for part in 0..parts {
            sum += partial[part * output.len() + at];
        }
        output[at] = sum;
    }
}
