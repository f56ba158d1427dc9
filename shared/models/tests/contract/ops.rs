//! Our own operations compute what Burn's do, and their gradients agree both with
//! Burn's and with difference quotients.

use burn::tensor::{
    Device, Tensor, TensorData, module,
    ops::{ConvOptions, PadMode},
};
use maskline_models::ops::{
    Activation, Gate, Padding, SqueezeLayers, batch_norm, depthwise, fixed_norm, pointwise,
    squeeze_excite, stem,
};

use crate::{difference, uniform};

const ACTIVATIONS: [Activation; 5] = [
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::HardSwish,
    Activation::Silu,
];

/// Heights and widths: odd, even, unequal, below the width of a SIMD register, and one
/// pixel.
const SIZES: [[usize; 2]; 6] = [[17, 14], [16, 16], [9, 20], [7, 7], [4, 4], [1, 1]];

/// Strides and paddings.
const STEPS: [(usize, Padding); 4] = [
    (1, Padding::Symmetric),
    (2, Padding::Symmetric),
    (1, Padding::Same),
    (2, Padding::Same),
];

/// The input with the zeros around it, for a convolution that adds none.
fn padded(input: Tensor<4>, kernel: usize, stride: usize, padding: Padding) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    let zeros = [height, width].map(|side| {
        let [before, after] = padding.around(side, kernel, stride);
        (before, after)
    });
    input.pad(zeros, PadMode::Constant(0.0))
}

/// An operation on arguments that are given as flat vectors.
type Operation<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<4>;

/// The operation's output, and for each argument the gradient of a weighted sum of the
/// output.
fn outcome(operation: Operation, arguments: &[Vec<f32>]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let device = Device::flex().autodiff();
    let flat = |values: &Vec<f32>| {
        let data = TensorData::new(values.clone(), [values.len()]);
        Tensor::<1>::from_data(data, &device).require_grad()
    };
    let arguments: Vec<_> = arguments.iter().map(flat).collect();
    let output = operation(&arguments);
    let dims = output.dims();
    let weights = TensorData::new(uniform("weights", dims.iter().product()), dims);
    let loss = (output.clone() * Tensor::from_data(weights, &device)).sum();
    let gradients = loss.backward();
    let gradient = |of: &Tensor<1>| vec(of.grad(&gradients).expect("a gradient"));
    (vec(output), arguments.iter().map(gradient).collect())
}

fn vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Asserts that `own` computes the same output and gradients as `burn`, and that the
/// gradients are the derivatives of what it computes.
fn check(case: &str, own: Operation, burn: Operation, arguments: &[Vec<f32>]) {
    let (output, gradients) = outcome(own, arguments);
    let (expected, expected_gradients) = outcome(burn, arguments);
    let off = difference(&output, &expected);
    assert!(off < 1e-5, "{case}: the output is off by {off:e}");
    for (index, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
        let off = difference(found, expected);
        assert!(
            off < 2e-5,
            "{case}: the gradient by argument {index} is off by {off:e}"
        );
    }
    for (index, gradient) in gradients.iter().enumerate() {
        check_slope(case, own, arguments, index, gradient);
    }
}

/// Asserts that the weighted sum changes along a random direction as the gradient says.
fn check_slope(case: &str, own: Operation, arguments: &[Vec<f32>], index: usize, gradient: &[f32]) {
    const STEP: f32 = 2e-3;
    let direction = uniform(&format!("{case} {index}"), gradient.len());
    let sum = |step: f32| {
        let mut moved = arguments.to_vec();
        for (value, direction) in moved[index].iter_mut().zip(&direction) {
            *value += step * direction;
        }
        let (output, _) = outcome(own, &moved);
        let weights = uniform("weights", output.len());
        let products = output.iter().zip(weights);
        products
            .map(|(x, w)| f64::from(*x) * f64::from(w))
            .sum::<f64>()
    };
    let found = (sum(STEP) - sum(-STEP)) / f64::from(2.0 * STEP);
    let along = gradient.iter().zip(&direction);
    let expected: f64 = along.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
    // A random sum of as many terms is about as large as this norm, so the error is
    // measured against it.
    let norm = gradient
        .iter()
        .map(|g| f64::from(*g).powi(2))
        .sum::<f64>()
        .sqrt();
    let off = (found - expected).abs() / norm.max(1e-3);
    assert!(
        off < 0.05,
        "{case}: by argument {index} the slope is {found}, not {expected}"
    );
}

fn scaled(name: &str, len: usize, scale: f32, offset: f32) -> Vec<f32> {
    uniform(name, len)
        .into_iter()
        .map(|x| scale * x + offset)
        .collect()
}

#[test]
fn depthwise_is_burns_convolution() {
    // One channel fewer than a group of eight, one group, and more than two groups.
    for channels in [7, 8, 19] {
        for [height, width] in SIZES {
            for kernel in [3, 5] {
                for (stride, padding) in STEPS {
                    let arguments = [
                        uniform("input", 3 * channels * height * width),
                        uniform("weight", channels * kernel * kernel),
                    ];
                    let shaped = |of: &[Tensor<1>]| {
                        let input = of[0].clone().reshape([3, channels, height, width]);
                        (input, of[1].clone().reshape([channels, 1, kernel, kernel]))
                    };
                    let own = |of: &[Tensor<1>]| {
                        let (input, weight) = shaped(of);
                        depthwise(input, weight, stride, padding)
                    };
                    let burn = |of: &[Tensor<1>]| {
                        let (input, weight) = shaped(of);
                        let input = padded(input, kernel, stride, padding);
                        let options = ConvOptions::new([stride; 2], [0; 2], [1; 2], channels);
                        module::conv2d(input, weight, None, options)
                    };
                    let case = format!(
                        "{channels} channels of {height} × {width}, kernel {kernel}, stride {stride}, \
                         {padding:?}"
                    );
                    check(&case, &own, &burn, &arguments);
                }
            }
        }
    }
}

#[test]
fn pointwise_is_burns_convolution() {
    // Small images are multiplied several at once. The second and the last case have
    // a smaller last group.
    for (images, [height, width]) in [(1, [9, 11]), (13, [7, 7]), (3, [16, 17]), (19, [1, 1])] {
        let arguments = [
            uniform("input", images * 6 * height * width),
            uniform("weight", 10 * 6),
        ];
        let shaped = |of: &[Tensor<1>]| {
            let input = of[0].clone().reshape([images, 6, height, width]);
            (input, of[1].clone().reshape([10, 6, 1, 1]))
        };
        let own = |of: &[Tensor<1>]| {
            let (input, weight) = shaped(of);
            pointwise(input, weight)
        };
        let burn = |of: &[Tensor<1>]| {
            let (input, weight) = shaped(of);
            let options = ConvOptions::new([1; 2], [0; 2], [1; 2], 1);
            module::conv2d(input, weight, None, options)
        };
        let case = format!("{images} images of {height} × {width}");
        check(&case, &own, &burn, &arguments);
    }
}

#[test]
fn the_stem_is_burns_convolution() {
    for [height, width] in SIZES {
        for (stride, padding) in STEPS {
            let arguments = [
                uniform("input", 3 * 3 * height * width),
                uniform("weight", 5 * 3 * 3 * 3),
            ];
            let shaped = |of: &[Tensor<1>]| {
                let input = of[0].clone().reshape([3, 3, height, width]);
                (input, of[1].clone().reshape([5, 3, 3, 3]))
            };
            let own = |of: &[Tensor<1>]| {
                let (input, weight) = shaped(of);
                stem(input, weight, stride, padding)
            };
            let burn = |of: &[Tensor<1>]| {
                let (input, weight) = shaped(of);
                let input = padded(input, 3, stride, padding);
                let options = ConvOptions::new([stride; 2], [0; 2], [1; 2], 1);
                module::conv2d(input, weight, None, options)
            };
            check(
                &format!("{height} × {width}, stride {stride}, {padding:?}"),
                &own,
                &burn,
                &arguments,
            );
        }
    }
}

#[test]
fn batch_norm_is_burns_with_activation_and_shortcut() {
    for activation in ACTIVATIONS {
        for [height, width] in SIZES {
            let len = 4 * 6 * height * width;
            let arguments = [
                // The mean is far from zero compared with the deviation, so that naive
                // sums of squares would lose digits.
                scaled("input", len, 2.0, 5.0),
                scaled("weight", 6, 1.0, 1.5),
                scaled("bias", 6, 2.0, 0.5),
                uniform("shortcut", len),
            ];
            let own = |of: &[Tensor<1>]| {
                let [input, shortcut] =
                    [&of[0], &of[3]].map(|of| of.clone().reshape([4, 6, height, width]));
                let (weight, bias) = (of[1].clone(), of[2].clone());
                batch_norm(input, weight, bias, Some(shortcut), 1e-3, activation).output
            };
            let burn = |of: &[Tensor<1>]| {
                let [input, shortcut] =
                    [&of[0], &of[3]].map(|of| of.clone().reshape([4, 6, height, width]));
                let (weight, bias) = (of[1].clone(), of[2].clone());
                let normalized = module::batch_norm_train(input, weight, bias, 1e-3);
                activation.forward(normalized.output) + shortcut
            };
            let case = format!("{activation:?}, {height} × {width}");
            check(&case, &own, &burn, &arguments);
        }
    }
}

#[test]
fn batch_norm_needs_no_shortcut() {
    let arguments = [
        uniform("input", 4 * 6 * 9 * 9),
        scaled("weight", 6, 1.0, 1.5),
        uniform("bias", 6),
    ];
    let shaped = |of: &[Tensor<1>]| {
        let input = of[0].clone().reshape([4, 6, 9, 9]);
        (input, of[1].clone(), of[2].clone())
    };
    let own = |of: &[Tensor<1>]| {
        let (input, weight, bias) = shaped(of);
        batch_norm(input, weight, bias, None, 1e-5, Activation::HardSwish).output
    };
    let burn = |of: &[Tensor<1>]| {
        let (input, weight, bias) = shaped(of);
        let normalized = module::batch_norm_train(input, weight, bias, 1e-5);
        Activation::HardSwish.forward(normalized.output)
    };
    check("no shortcut", &own, &burn, &arguments);
}

#[test]
fn batch_norm_gives_the_mean_and_the_unbiased_variance() {
    let device = Device::flex();
    let values = vec![1.0, 3.0, 2.0, 6.0, 10.0, 10.0, 30.0, 30.0];
    // There are two images of two channels of two pixels. Channel 0 has the values 1, 3, 10, 10.
    let input = Tensor::<4>::from_data(TensorData::new(values, [2, 2, 1, 2]), &device);
    let (one, zero) = (Tensor::ones([2], &device), Tensor::zeros([2], &device));
    let of = batch_norm(input, one, zero, None, 1e-5, Activation::None);
    assert!(difference(&vec(of.mean), &[6.0, 17.0]) < 1e-6);
    assert!(difference(&vec(of.variance), &[22.0, 228.0]) < 1e-6);
}

#[test]
fn fixed_norm_is_burns_with_activation_and_shortcut() {
    let device = Device::flex();
    let flat = |values: Vec<f32>| {
        let len = values.len();
        Tensor::<1>::from_data(TensorData::new(values, [len]), &device)
    };
    let weight = flat(scaled("weight", 6, 1.0, 1.5));
    let bias = flat(uniform("bias", 6));
    let mean = flat(uniform("mean", 6));
    let variance = flat(scaled("variance", 6, 0.5, 1.0));
    for activation in ACTIVATIONS {
        for [height, width] in SIZES {
            let shape = [3, 6, height, width];
            let len = shape.iter().product();
            let input = flat(scaled("input", len, 4.0, 0.0)).reshape(shape);
            let shortcut = flat(uniform("shortcut", len)).reshape(shape);
            let (weight, bias, mean, variance) =
                (weight.clone(), bias.clone(), mean.clone(), variance.clone());
            let expected = module::batch_norm(
                input.clone(),
                weight.clone(),
                bias.clone(),
                mean.clone(),
                variance.clone(),
                1e-3,
            );
            let expected = activation.forward(expected) + shortcut.clone();
            let kept = vec(input.clone());
            let found = fixed_norm(
                input.clone(),
                weight,
                bias,
                mean,
                variance,
                Some(shortcut),
                1e-3,
                activation,
            );
            let off = difference(&vec(found), &vec(expected));
            assert!(
                off < 1e-5,
                "{activation:?}, {height} × {width}: off by {off:e}"
            );
            assert_eq!(
                vec(input),
                kept,
                "an input with another reference stays as it is"
            );
        }
    }
}

#[test]
fn squeeze_and_excitation_is_burns_operations() {
    let (images, channels, squeezed) = (5, 12, 4);
    for (activation, gate) in [
        (Activation::Relu, Gate::HardSigmoid),
        (Activation::Silu, Gate::Sigmoid),
    ] {
        for [height, width] in SIZES {
            let arguments = [
                uniform("input", images * channels * height * width),
                uniform("reduce", squeezed * channels),
                uniform("reduce bias", squeezed),
                uniform("expand", channels * squeezed),
                uniform("expand bias", channels),
            ];
            let shaped = |of: &[Tensor<1>]| {
                let input = of[0].clone().reshape([images, channels, height, width]);
                let reduce = of[1].clone().reshape([squeezed, channels, 1, 1]);
                let expand = of[3].clone().reshape([channels, squeezed, 1, 1]);
                (input, reduce, expand)
            };
            let own = |of: &[Tensor<1>]| {
                let (input, reduce, expand) = shaped(of);
                let layers = SqueezeLayers {
                    reduce: (reduce, of[2].clone()),
                    expand: (expand, of[4].clone()),
                    activation,
                    gate,
                };
                squeeze_excite(input, layers)
            };
            let burn = |of: &[Tensor<1>]| {
                let (input, reduce, expand) = shaped(of);
                let options = ConvOptions::new([1; 2], [0; 2], [1; 2], 1);
                let means = input.clone().mean_dims(&[2, 3]);
                let bias = Some(of[2].clone());
                let between = module::conv2d(means, reduce, bias, options.clone());
                let bias = Some(of[4].clone());
                let between = activation.forward(between);
                input * gate.forward(module::conv2d(between, expand, bias, options))
            };
            let case = format!("{gate:?}, {height} × {width}");
            check(&case, &own, &burn, &arguments);
        }
    }
}
