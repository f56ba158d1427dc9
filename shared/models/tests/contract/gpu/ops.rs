//! The operations for a GPU compute what those for the CPU do.

use burn::tensor::{Device, Tensor, TensorData};
use maskline_models::ops::{
    Activation, Gate, Kernels, Padding, SqueezeLayers, depthwise, gpu_depthwise,
    gpu_squeeze_excite, squeeze_excite,
};
use maskline_test_support::vulkan::{Software, on_gpu};

use crate::{difference, networks::vec, uniform};

/// The most that an output or a gradient may be off, relative to the largest.
const OFF: f32 = 2e-5;

/// An operation on arguments that are given as flat vectors, on a device.
type Operation<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<4>;

/// The output, and the gradient of a weighted sum of it with respect to each argument.
fn outcome(operation: Operation, arguments: &[Vec<f32>], device: &Device) -> Vec<Vec<f32>> {
    let device = device.clone().autodiff();
    let flat = |values: &Vec<f32>| {
        let data = TensorData::new(values.clone(), [values.len()]);
        Tensor::<1>::from_data(data, &device).require_grad()
    };
    let arguments: Vec<_> = arguments.iter().map(flat).collect();
    let output = operation(&arguments);
    let shape = output.dims();
    let weights = TensorData::new(uniform("weights", shape.iter().product()), shape);
    let loss = (output.clone() * Tensor::from_data(weights, &device)).sum();
    let gradients = loss.backward();
    let gradient = |of: &Tensor<1>| vec(of.grad(&gradients).expect("a gradient"));
    let mut outcome = vec![vec(output)];
    outcome.extend(arguments.iter().map(gradient));
    outcome
}

fn compare(case: &str, operation: Operation, arguments: &[Vec<f32>], gpu: &Device) {
    let found = outcome(operation, arguments, gpu);
    let expected = outcome(operation, arguments, &Device::flex());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let off = difference(found, expected);
        assert!(off < OFF, "{case}: {index} is off by {off:e}");
    }
}

#[test]
fn a_gpu_computes_depthwise_convolution_as_the_cpu_does() {
    let test = "gpu::ops::a_gpu_computes_depthwise_convolution_as_the_cpu_does";
    on_gpu(test, Software::Allowed, || {
        let gpu = super::gpu().device;
        // One pixel; fewer and more channels than a cube has; lines for one part and for several.
        let shapes = [
            [1, 3, 1, 1],
            [2, 16, 9, 6],
            [3, 40, 7, 7],
            [4, 72, 20, 17],
            [9, 8, 40, 5],
        ];
        for shape in shapes {
            for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
                let channels = shape[1];
                let operation = |arguments: &[Tensor<1>]| {
                    let input = arguments[0].clone().reshape(shape);
                    let weight = arguments[1].clone();
                    let weight = weight.reshape([channels, 1, kernel, kernel]);
                    match Kernels::of(&input.device()) {
                        Kernels::Gpu => gpu_depthwise(input, weight, stride, [kernel / 2; 2]),
                        _ => depthwise(input, weight, stride, Padding::Symmetric),
                    }
                };
                let arguments = [
                    uniform("input", shape.iter().product()),
                    uniform("weight", channels * kernel * kernel),
                ];
                let case = format!("{shape:?}, {kernel}, {stride}");
                compare(&case, &operation, &arguments, &gpu);
            }
        }
    });
}

#[test]
fn a_gpu_computes_squeeze_and_excitation_as_the_cpu_does() {
    let test = "gpu::ops::a_gpu_computes_squeeze_and_excitation_as_the_cpu_does";
    on_gpu(test, Software::Allowed, || {
        let gpu = super::gpu().device;
        let kinds = [
            (Activation::Relu, Gate::HardSigmoid),
            (Activation::Silu, Gate::Sigmoid),
        ];
        for (shape, squeezed) in [([1, 3, 1, 1], 1), ([2, 16, 9, 6], 8), ([5, 72, 13, 17], 24)] {
            for (activation, gate) in kinds {
                let channels = shape[1];
                let operation = |arguments: &[Tensor<1>]| {
                    let [input, reduce, reduce_bias, expand, expand_bias] = arguments else {
                        panic!("five arguments");
                    };
                    let reduce = reduce.clone().reshape([squeezed, channels, 1, 1]);
                    let expand = expand.clone().reshape([channels, squeezed, 1, 1]);
                    let layers = SqueezeLayers {
                        reduce: (reduce, reduce_bias.clone()),
                        expand: (expand, expand_bias.clone()),
                        activation,
                        gate,
                    };
                    let input = input.clone().reshape(shape);
                    match Kernels::of(&input.device()) {
                        Kernels::Gpu => gpu_squeeze_excite(input, layers),
                        _ => squeeze_excite(input, layers),
                    }
                };
                let arguments = [
                    uniform("input", shape.iter().product()),
                    uniform("reduce", squeezed * channels),
                    uniform("reduce bias", squeezed),
                    uniform("expand", squeezed * channels),
                    uniform("expand bias", channels),
                ];
                let case = format!("{shape:?}, {activation:?}, {gate:?}");
                compare(&case, &operation, &arguments, &gpu);
            }
        }
    });
}
