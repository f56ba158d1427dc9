//! The layers that a network is made of. Each knows its name in torchvision.

use burn::{
    module::{Flag, Module, Param, RunningState},
    tensor::{Distribution, Tensor, module, ops::ConvOptions},
};

use crate::{
    ModelError,
    init::{Builder, Init},
    names::Pair,
    ops::{
        Activation, Gate, Kernels,
        depthwise::depthwise,
        norm::{batch_norm, fixed_norm},
        pointwise::pointwise,
        squeeze::{self, squeeze_excite},
        stem::stem,
    },
};

/// How much a training step moves the running statistics.
///
/// torchvision has 0.1 for MobileNetV2 and EfficientNet, 0.01 for MobileNetV3 and
/// 0.0003 for MnasNet. Those suit weeks of training: in the few hundred steps of
/// ours such statistics never arrive, and evaluation is no better than chance.
const MOMENTUM: f64 = 0.1;

/// How one pass through a network computes.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    pub kernels: Kernels,
    /// When set, batch norm takes the batch's statistics, whatever the device, and
    /// moves the running ones by this share.
    pub recompute: Option<f64>,
}

/// A convolution, padded so that it keeps the size but for its stride.
#[derive(Module, Debug)]
pub struct Convolution {
    pub name: String,
    /// `[filters, channels / groups, k, k]`
    pub weight: Param<Tensor<4>>,
    pub bias: Option<Param<Tensor<1>>>,
    pub stride: usize,
    pub groups: usize,
}

impl Convolution {
    fn new(
        builder: &mut Builder,
        name: String,
        shape: [usize; 4],
        stride: usize,
        groups: usize,
    ) -> Result<Self, ModelError> {
        let weight = format!("{name}.weight");
        Ok(Self {
            weight: builder.parameter(&weight, shape, Init::kaiming(shape))?,
            bias: None,
            name,
            stride,
            groups,
        })
    }

    /// One by one pixel, with a bias.
    fn with_bias(
        builder: &mut Builder,
        name: String,
        channels: usize,
        filters: usize,
    ) -> Result<Self, ModelError> {
        let mut convolution = Self::new(builder, name, [filters, channels, 1, 1], 1, 1)?;
        let bias = format!("{}.bias", convolution.name);
        convolution.bias = Some(builder.parameter(&bias, [filters], Init::Constant(0.0))?);
        Ok(convolution)
    }

    fn forward(&self, input: Tensor<4>, pass: Pass) -> Tensor<4> {
        let weight = self.weight.val();
        let [filters, channels, kernel, _] = weight.dims();
        match pass.kernels {
            Kernels::Own if self.bias.is_some() => self.by_burn(input, weight),
            Kernels::Own if self.groups == filters && channels == 1 => {
                depthwise(input, weight, self.stride)
            }
            Kernels::Own if kernel == 1 && self.stride == 1 => pointwise(input, weight),
            Kernels::Own => stem(input, weight, self.stride),
            Kernels::Burn => self.by_burn(input, weight),
        }
    }

    fn by_burn(&self, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let pad = weight.dims()[2] / 2;
        let options = ConvOptions::new([self.stride; 2], [pad; 2], [1; 2], self.groups);
        let bias = self.bias.as_ref().map(Param::val);
        module::conv2d(input, weight, bias, options)
    }
}

/// Batch norm over the channels of images.
#[derive(Module, Debug)]
pub struct Norm {
    pub name: String,
    pub weight: Param<Tensor<1>>,
    pub bias: Param<Tensor<1>>,
    pub running_mean: RunningState<Tensor<1>>,
    /// Of unbiased variances, as PyTorch keeps it.
    pub running_variance: RunningState<Tensor<1>>,
    training: Param<Flag>,
    epsilon: f64,
}

impl Norm {
    fn new(
        builder: &mut Builder,
        name: String,
        channels: usize,
        epsilon: f64,
    ) -> Result<Self, ModelError> {
        let shape = [channels];
        let of = |tensor: &str| format!("{name}.{tensor}");
        let (zero, one) = (Init::Constant(0.0), Init::Constant(1.0));
        Ok(Self {
            weight: builder.parameter(&of("weight"), shape, one)?,
            bias: builder.parameter(&of("bias"), shape, zero)?,
            running_mean: RunningState::new(builder.tensor(&of("running_mean"), shape, zero)?),
            running_variance: RunningState::new(builder.tensor(&of("running_var"), shape, one)?),
            training: Param::from_bool(true),
            epsilon,
            name,
        })
    }

    /// `activation(norm(input)) + shortcut`
    fn forward(
        &self,
        input: Tensor<4>,
        activation: Activation,
        shortcut: Option<Tensor<4>>,
        pass: Pass,
    ) -> Tensor<4> {
        let trains = input.device().is_autodiff() && self.training.val().is_enabled();
        match pass.recompute.or(trains.then_some(MOMENTUM)) {
            Some(share) => self.by_batch(input, activation, shortcut, share, pass.kernels),
            None => self.by_running(input, activation, shortcut, pass.kernels),
        }
    }

    fn by_batch(
        &self,
        input: Tensor<4>,
        activation: Activation,
        shortcut: Option<Tensor<4>>,
        share: f64,
        kernels: Kernels,
    ) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let (output, mean, variance) = match kernels {
            Kernels::Own => {
                let of = batch_norm(input, weight, bias, shortcut, self.epsilon, activation);
                (of.output, of.mean, of.variance)
            }
            Kernels::Burn => {
                let [images, _, height, width] = input.dims();
                let count = (images * height * width) as f64;
                let of = module::batch_norm_train(input, weight, bias, self.epsilon);
                let unbiased = of.variance * (count / (count - 1.0).max(1.0));
                (finish(of.output, activation, shortcut), of.mean, unbiased)
            }
        };
        for (state, batch) in [
            (&self.running_mean, mean),
            (&self.running_variance, variance),
        ] {
            let moved = state.value_sync() * (1.0 - share) + batch.detach() * share;
            state.update(moved.detach());
        }
        output
    }

    fn by_running(
        &self,
        input: Tensor<4>,
        activation: Activation,
        shortcut: Option<Tensor<4>>,
        kernels: Kernels,
    ) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let (mean, variance) = (
            self.running_mean.value_sync(),
            self.running_variance.value_sync(),
        );
        // A frozen norm in a network that trains needs gradients: Burn has them.
        if kernels == Kernels::Own && !input.device().is_autodiff() {
            let epsilon = self.epsilon;
            return fixed_norm(
                input, weight, bias, mean, variance, shortcut, epsilon, activation,
            );
        }
        let output = module::batch_norm(input, weight, bias, mean, variance, self.epsilon);
        finish(output, activation, shortcut)
    }
}

fn finish(output: Tensor<4>, activation: Activation, shortcut: Option<Tensor<4>>) -> Tensor<4> {
    let output = activation.forward(output);
    match shortcut {
        Some(shortcut) => output + shortcut,
        None => output,
    }
}

/// Convolution, batch norm, activation.
#[derive(Module, Debug)]
pub struct ConvNorm {
    pub convolution: Convolution,
    pub norm: Norm,
    #[module(skip)]
    activation: Activation,
}

/// What a [`ConvNorm`] is.
pub struct ConvNormConfig {
    pub channels: usize,
    pub filters: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
    pub activation: Activation,
    pub epsilon: f64,
}

impl ConvNorm {
    pub fn new(
        builder: &mut Builder,
        (convolution, norm): Pair,
        config: ConvNormConfig,
    ) -> Result<Self, ModelError> {
        let ConvNormConfig {
            channels,
            filters,
            kernel,
            stride,
            groups,
            ..
        } = config;
        let shape = [filters, channels / groups, kernel, kernel];
        Ok(Self {
            convolution: Convolution::new(builder, convolution, shape, stride, groups)?,
            norm: Norm::new(builder, norm, filters, config.epsilon)?,
            activation: config.activation,
        })
    }

    pub fn forward(&self, input: Tensor<4>, pass: Pass) -> Tensor<4> {
        self.forward_with(input, None, pass)
    }

    /// With a shortcut that is added to what comes out.
    pub fn forward_with(
        &self,
        input: Tensor<4>,
        shortcut: Option<Tensor<4>>,
        pass: Pass,
    ) -> Tensor<4> {
        let output = self.convolution.forward(input, pass);
        self.norm.forward(output, self.activation, shortcut, pass)
    }
}

/// Squeeze-and-excitation.
#[derive(Module, Debug)]
pub struct SqueezeExcite {
    pub reduce: Convolution,
    pub expand: Convolution,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    gate: Gate,
}

impl SqueezeExcite {
    pub fn new(
        builder: &mut Builder,
        (reduce, expand): (String, String),
        channels: usize,
        squeezed: usize,
        activation: Activation,
        gate: Gate,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            reduce: Convolution::with_bias(builder, reduce, channels, squeezed)?,
            expand: Convolution::with_bias(builder, expand, squeezed, channels)?,
            activation,
            gate,
        })
    }

    pub fn forward(&self, input: Tensor<4>, pass: Pass) -> Tensor<4> {
        if let (Kernels::Own, Some(reduce), Some(expand)) =
            (pass.kernels, &self.reduce.bias, &self.expand.bias)
        {
            let layers = squeeze::Layers {
                reduce: (self.reduce.weight.val(), reduce.val()),
                expand: (self.expand.weight.val(), expand.val()),
                activation: self.activation,
                gate: self.gate,
            };
            return squeeze_excite(input, layers);
        }
        let means = input.clone().mean_dims(&[2, 3]);
        let squeezed = self.activation.forward(self.reduce.forward(means, pass));
        input * self.gate.forward(self.expand.forward(squeezed, pass))
    }
}

/// A fully connected layer.
#[derive(Module, Debug)]
pub struct Linear {
    pub name: String,
    /// `[to, from]`
    pub weight: Param<Tensor<2>>,
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    pub fn new(
        builder: &mut Builder,
        name: String,
        from: usize,
        to: usize,
        init: Init,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), [to, from], init)?,
            bias: builder.parameter(&format!("{name}.bias"), [to], Init::Constant(0.0))?,
            name,
        })
    }

    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        input.matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}

/// Stochastic depth: in training, some images of a batch skip a block. The others'
/// values are scaled up, so that their mean stays. Huang et al., 2016.
#[derive(Module, Debug)]
pub struct StochasticDepth {
    pub probability: f64,
    training: Param<Flag>,
}

impl StochasticDepth {
    pub fn new(probability: f64) -> Self {
        Self {
            probability,
            training: Param::from_bool(true),
        }
    }

    /// Whether a pass on what `input` is on skips anything.
    pub fn is_active(&self, input: &Tensor<4>, pass: Pass) -> bool {
        self.probability > 0.0
            && pass.recompute.is_none()
            && input.device().is_autodiff()
            && self.training.val().is_enabled()
    }

    /// Zeroes the images that skip the block.
    pub fn forward(&self, output: Tensor<4>) -> Tensor<4> {
        let kept = 1.0 - self.probability;
        let shape = [output.dims()[0], 1, 1, 1];
        let distribution = Distribution::Bernoulli(kept);
        let mask = Tensor::random(shape, distribution, &output.device()) / kept;
        output * mask
    }
}
