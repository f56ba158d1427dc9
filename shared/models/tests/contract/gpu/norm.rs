//! The batch norm for a GPU computes what the one for the CPU does.

use burn::tensor::{Device, Tensor, TensorData};
use maskline_models::ops::{Activation, GpuNorm, Kernels, batch_norm, gpu_norm};
use maskline_test_support::vulkan::{Software, on_gpu};

use crate::{difference, networks::vec, uniform};

const EPSILON: f64 = 1e-3;
const SHARE: f64 = 0.25;

/// The most that an output, a statistic or a gradient may be off, relative to the largest.
const OFF: f32 = 2e-5;

/// `[images, channels, height, width]`: a single value for each channel, fewer and more channels
/// than a cube has, rows for one part and for several, and more rows than fill the most parts.
const SHAPES: [[usize; 4]; 5] = [
    [1, 3, 1, 1],
    [2, 16, 5, 7],
    [3, 40, 16, 16],
    [2, 100, 3, 3],
    [2, 20, 70, 71],
];

const ACTIVATIONS: [Activation; 5] = [
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::HardSwish,
    Activation::Silu,
];

/// What a norm gives: the output, the moved running mean and variance, and the gradients with
/// respect to the input, the weight, the bias and the shortcut.
type Outcome = [Vec<f32>; 7];

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn outcome(shape: [usize; 4], activation: Activation, adds: bool, device: &Device) -> Outcome {
    let device = device.clone().autodiff();
    let count: usize = shape.iter().product();
    let channels = shape[1];
    // Channels lose most when squares are added up if they are far from zero.
    let values = uniform("input", count).into_iter().enumerate();
    let plane = shape[2] * shape[3];
    let values = values.map(|(at, value)| value + (at / plane % channels % 8) as f32);
    let input = tensor(values.collect(), shape, &device).require_grad();
    let of_channels = |name: &str| tensor(uniform(name, channels), [channels], &device);
    let (weight, bias) = (of_channels("weight") + 1.5, of_channels("bias") * 2.0);
    let (weight, bias) = (weight.detach().require_grad(), bias.detach().require_grad());
    let shortcut = tensor(uniform("shortcut", count), shape, &device).require_grad();
    let (mean, variance) = (of_channels("mean"), of_channels("variance") + 2.0);
    let added = adds.then(|| shortcut.clone());
    let (output, mean, variance) = match Kernels::of(&device) {
        Kernels::Gpu => {
            let norm = GpuNorm {
                weight: weight.clone(),
                bias: bias.clone(),
                shortcut: added,
                running_mean: mean,
                running_variance: variance,
                epsilon: EPSILON,
                share: SHARE,
                activation,
            };
            gpu_norm(input.clone(), norm)
        }
        _ => {
            let (weight, bias) = (weight.clone(), bias.clone());
            let of = batch_norm(input.clone(), weight, bias, added, EPSILON, activation);
            let moved = |old: Tensor<1>, new: Tensor<1>| old * (1.0 - SHARE) + new * SHARE;
            (
                of.output,
                moved(mean, of.mean),
                moved(variance, of.variance),
            )
        }
    };
    let loss = (output.clone() * tensor(uniform("weights", count), shape, &device)).sum();
    let gradients = loss.backward();
    let of_shortcut = match adds {
        true => vec(shortcut.grad(&gradients).expect("a gradient")),
        false => vec![],
    };
    [
        vec(output.inner()),
        vec(mean.inner()),
        vec(variance.inner()),
        vec(input.grad(&gradients).expect("a gradient")),
        vec(weight.grad(&gradients).expect("a gradient")),
        vec(bias.grad(&gradients).expect("a gradient")),
        of_shortcut,
    ]
}

#[test]
fn a_gpu_computes_batch_norm_as_the_cpu_does() {
    let test = "gpu::norm::a_gpu_computes_batch_norm_as_the_cpu_does";
    on_gpu(test, Software::Allowed, || {
        let gpu = super::gpu().device;
        for shape in SHAPES {
            for activation in ACTIVATIONS {
                for adds in [false, true] {
                    let found = outcome(shape, activation, adds, &gpu);
                    let expected = outcome(shape, activation, adds, &Device::flex());
                    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        let off = difference(found, expected);
                        assert!(
                            off < OFF,
                            "{shape:?} {activation:?} {adds} {index}: {off:e}"
                        );
                    }
                }
            }
        }
    });
}
