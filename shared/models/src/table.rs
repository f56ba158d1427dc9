//! The networks as the tables of their papers, with torchvision's settings. torchvision does not
//! have EfficientNet-Lite0: its settings are TensorFlow's.
//!
//! | network | paper |
//! |---|---|
//! | MobileNetV2 | Sandler et al., *Inverted Residuals and Linear Bottlenecks*, 2018, table 2 |
//! | MobileNetV3-small | Howard et al., *Searching for MobileNetV3*, 2019, table 2 |
//! | MnasNet-1.0 (B1) | Tan et al., *Platform-Aware Neural Architecture Search*, 2019, figure 7 |
//! | EfficientNet-B0 | Tan and Le, *Rethinking Model Scaling*, 2019, table 1 |
//! | EfficientNet-Lite0 | TensorFlow's `tpu/models/official/efficientnet/lite`, 2020 |

use maskline_messages::NetworkName;

use crate::{
    input::Standardization,
    names::Layout,
    ops::{
        Activation::{self, HardSwish, Relu, Relu6, Silu},
        Gate, Padding,
    },
};

/// A network: a stem, stages of inverted-residual blocks, a head, a classifier.
pub struct Table {
    pub layout: Layout,
    /// How pixels are standardized for it.
    pub input: Standardization,
    /// The padding of its convolutions.
    pub padding: Padding,
    /// The channels of the first convolution, which is 3 × 3 with stride 2.
    pub stem: usize,
    pub stages: &'static [Stage],
    /// The channels of the last convolution, which is 1 × 1.
    pub head: usize,
    /// The features of the classifier's hidden layer, if it has one.
    pub hidden: Option<usize>,
    /// The activation after the stem, the head and the hidden layer.
    pub activation: Activation,
    pub squeeze: Option<Squeeze>,
    /// The ε of batch norm.
    pub epsilon: f64,
    /// The probability that a feature is dropped before the last layer.
    pub dropout: f64,
    /// The probability that the last block is skipped. It grows evenly from 0 at the first.
    pub stochastic_depth: f64,
}

/// A row of equal blocks. The first has the stride and changes the number of channels, the
/// others keep the shape.
pub struct Stage {
    pub expansion: Expansion,
    pub kernel: usize,
    pub stride: usize,
    pub channels: usize,
    pub blocks: usize,
    pub squeeze: bool,
    pub activation: Activation,
}

/// The number of channels inside a block.
pub enum Expansion {
    /// A multiple of the channels of its input.
    Times(usize),
    /// A number of channels.
    To(usize),
}

/// Squeeze-and-excitation. Its width is a quarter of another number of channels.
pub struct Squeeze {
    pub quarter_of: QuarterOf,
    pub activation: Activation,
    pub gate: Gate,
}

pub enum QuarterOf {
    /// The block's expanded channels, rounded to a multiple of eight.
    Expanded,
    /// The block's input channels.
    Input,
}

/// A stage without squeeze-and-excitation. The arguments are in the order of the papers'
/// columns: t (the factor of the expansion), k, c, n, s.
const fn stage(
    times: usize,
    kernel: usize,
    channels: usize,
    blocks: usize,
    stride: usize,
    activation: Activation,
) -> Stage {
    Stage {
        expansion: Expansion::Times(times),
        kernel,
        stride,
        channels,
        blocks,
        squeeze: false,
        activation,
    }
}

/// A block of MobileNetV3. The arguments are in the order of the paper's columns: k, exp
/// size, out, SE, NL, s.
const fn bneck(
    kernel: usize,
    expanded: usize,
    channels: usize,
    squeeze: bool,
    activation: Activation,
    stride: usize,
) -> Stage {
    Stage {
        expansion: Expansion::To(expanded),
        kernel,
        stride,
        channels,
        blocks: 1,
        squeeze,
        activation,
    }
}

const fn with_squeeze(stage: Stage) -> Stage {
    Stage {
        squeeze: true,
        ..stage
    }
}

static MOBILENET_V2: Table = Table {
    layout: Layout::MobilenetV2,
    input: Standardization::IMAGENET,
    padding: Padding::Symmetric,
    stem: 32,
    stages: &[
        stage(1, 3, 16, 1, 1, Relu6),
        stage(6, 3, 24, 2, 2, Relu6),
        stage(6, 3, 32, 3, 2, Relu6),
        stage(6, 3, 64, 4, 2, Relu6),
        stage(6, 3, 96, 3, 1, Relu6),
        stage(6, 3, 160, 3, 2, Relu6),
        stage(6, 3, 320, 1, 1, Relu6),
    ],
    head: 1280,
    hidden: None,
    activation: Relu6,
    squeeze: None,
    epsilon: 1e-5,
    dropout: 0.2,
    stochastic_depth: 0.0,
};

static MOBILENET_V3_SMALL: Table = Table {
    layout: Layout::MobilenetV3,
    input: Standardization::IMAGENET,
    padding: Padding::Symmetric,
    stem: 16,
    stages: &[
        bneck(3, 16, 16, true, Relu, 2),
        bneck(3, 72, 24, false, Relu, 2),
        bneck(3, 88, 24, false, Relu, 1),
        bneck(5, 96, 40, true, HardSwish, 2),
        bneck(5, 240, 40, true, HardSwish, 1),
        bneck(5, 240, 40, true, HardSwish, 1),
        bneck(5, 120, 48, true, HardSwish, 1),
        bneck(5, 144, 48, true, HardSwish, 1),
        bneck(5, 288, 96, true, HardSwish, 2),
        bneck(5, 576, 96, true, HardSwish, 1),
        bneck(5, 576, 96, true, HardSwish, 1),
    ],
    head: 576,
    hidden: Some(1024),
    activation: HardSwish,
    squeeze: Some(Squeeze {
        quarter_of: QuarterOf::Expanded,
        activation: Relu,
        gate: Gate::HardSigmoid,
    }),
    epsilon: 1e-3,
    dropout: 0.2,
    stochastic_depth: 0.0,
};

static MNASNET1_0: Table = Table {
    layout: Layout::Mnasnet,
    input: Standardization::IMAGENET,
    padding: Padding::Symmetric,
    stem: 32,
    stages: &[
        stage(1, 3, 16, 1, 1, Relu),
        stage(3, 3, 24, 3, 2, Relu),
        stage(3, 5, 40, 3, 2, Relu),
        stage(6, 5, 80, 3, 2, Relu),
        stage(6, 3, 96, 2, 1, Relu),
        stage(6, 5, 192, 4, 2, Relu),
        stage(6, 3, 320, 1, 1, Relu),
    ],
    head: 1280,
    hidden: None,
    activation: Relu,
    squeeze: None,
    epsilon: 1e-5,
    dropout: 0.2,
    stochastic_depth: 0.0,
};

static EFFICIENTNET_B0: Table = Table {
    layout: Layout::Efficientnet,
    input: Standardization::IMAGENET,
    padding: Padding::Symmetric,
    stem: 32,
    stages: &[
        with_squeeze(stage(1, 3, 16, 1, 1, Silu)),
        with_squeeze(stage(6, 3, 24, 2, 2, Silu)),
        with_squeeze(stage(6, 5, 40, 2, 2, Silu)),
        with_squeeze(stage(6, 3, 80, 3, 2, Silu)),
        with_squeeze(stage(6, 5, 112, 3, 1, Silu)),
        with_squeeze(stage(6, 5, 192, 4, 2, Silu)),
        with_squeeze(stage(6, 3, 320, 1, 1, Silu)),
    ],
    head: 1280,
    hidden: None,
    activation: Silu,
    squeeze: Some(Squeeze {
        quarter_of: QuarterOf::Input,
        activation: Silu,
        gate: Gate::Sigmoid,
    }),
    epsilon: 1e-5,
    dropout: 0.2,
    stochastic_depth: 0.2,
};

static EFFICIENTNET_LITE0: Table = Table {
    layout: Layout::EfficientnetLite,
    input: Standardization::SIGNED_UNIT,
    padding: Padding::Same,
    stem: 32,
    stages: &[
        stage(1, 3, 16, 1, 1, Relu6),
        stage(6, 3, 24, 2, 2, Relu6),
        stage(6, 5, 40, 2, 2, Relu6),
        stage(6, 3, 80, 3, 2, Relu6),
        stage(6, 5, 112, 3, 1, Relu6),
        stage(6, 5, 192, 4, 2, Relu6),
        stage(6, 3, 320, 1, 1, Relu6),
    ],
    head: 1280,
    hidden: None,
    activation: Relu6,
    squeeze: None,
    epsilon: 1e-3,
    dropout: 0.2,
    stochastic_depth: 0.2,
};

/// The table of a network.
pub fn table(network: NetworkName) -> &'static Table {
    match network {
        NetworkName::MobilenetV2 => &MOBILENET_V2,
        NetworkName::MobilenetV3Small => &MOBILENET_V3_SMALL,
        NetworkName::Mnasnet1_0 => &MNASNET1_0,
        NetworkName::EfficientnetB0 => &EFFICIENTNET_B0,
        NetworkName::EfficientnetLite0 => &EFFICIENTNET_LITE0,
    }
}

impl Table {
    /// The number of blocks of all stages.
    pub fn blocks(&self) -> usize {
        self.stages.iter().map(|stage| stage.blocks).sum()
    }
}

impl Expansion {
    /// The channels inside a block whose input has `input` channels.
    pub fn of(&self, input: usize) -> usize {
        match self {
            Self::Times(factor) => input * factor,
            Self::To(channels) => *channels,
        }
    }
}

impl Squeeze {
    /// The channels between the two layers of squeeze-and-excitation.
    pub fn width(&self, input: usize, expanded: usize) -> usize {
        match self.quarter_of {
            QuarterOf::Expanded => multiple_of_eight(expanded / 4),
            QuarterOf::Input => input / 4,
        }
    }
}

/// The nearest multiple of eight. If that is less than nine tenths of `width`, it is the
/// next larger one.
fn multiple_of_eight(width: usize) -> usize {
    let nearest = ((width + 4) / 8 * 8).max(8);
    if 10 * nearest < 9 * width {
        nearest + 8
    } else {
        nearest
    }
}
