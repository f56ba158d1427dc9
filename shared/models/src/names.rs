//! What torchvision calls the layers in its state dict.
//!
//! Every network nests its modules in its own way. A [`Layout`] gives, for a place
//! in the table, the names of the modules there; tensors add `.weight`, `.bias`,
//! `.running_mean` and so on.

/// How a network nests its modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    MobilenetV2,
    MobilenetV3,
    Mnasnet,
    Efficientnet,
}

/// The names of a convolution and of the batch norm after it.
pub type Pair = (String, String);

impl Layout {
    pub fn stem(self) -> Pair {
        match self {
            Self::Mnasnet => pair("layers", 0),
            _ => pair("features.0", 0),
        }
    }

    /// `stages` and `blocks`: how many the network has.
    pub fn head(self, stages: usize, blocks: usize) -> Pair {
        match self {
            Self::MobilenetV2 | Self::MobilenetV3 => pair(&format!("features.{}", blocks + 1), 0),
            Self::Efficientnet => pair(&format!("features.{}", stages + 1), 0),
            // The stem and the separable first stage are nine layers.
            Self::Mnasnet => pair("layers", 8 + stages - 1),
        }
    }

    /// The hidden layer of the classifier, where there is one.
    pub fn hidden(self) -> String {
        "classifier.0".into()
    }

    /// The last layer comes after a dropout and, with a hidden layer, its activation.
    pub fn classifier(self) -> String {
        match self {
            Self::MobilenetV3 => "classifier.3".into(),
            _ => "classifier.1".into(),
        }
    }

    /// The `index`-th block of a stage, the `block`-th of the network, from 0.
    pub fn block(self, stage: usize, index: usize, block: usize) -> BlockNames {
        let (prefix, step) = match (self, stage) {
            (Self::MobilenetV2, _) => (format!("features.{}.conv", block + 1), 0),
            (Self::MobilenetV3, _) => (format!("features.{}.block", block + 1), 0),
            (Self::Efficientnet, _) => (format!("features.{}.{index}.block", stage + 1), 0),
            // The first is no block to torchvision: its layers follow the stem's.
            (Self::Mnasnet, 0) => ("layers".into(), 1),
            (Self::Mnasnet, _) => (format!("layers.{}.{index}.layers", stage + 7), 0),
        };
        BlockNames {
            layout: self,
            prefix,
            step,
        }
    }
}

/// Names the steps of a block, one after the other.
pub struct BlockNames {
    layout: Layout,
    prefix: String,
    step: usize,
}

impl BlockNames {
    /// A convolution with batch norm and activation.
    pub fn convolution(&mut self) -> Pair {
        let (prefix, step) = (&self.prefix, self.step);
        self.step += 1;
        match self.layout {
            // Convolution, norm and activation lie flat.
            Layout::Mnasnet => pair(prefix, 3 * step),
            _ => pair(&format!("{prefix}.{step}"), 0),
        }
    }

    /// The two layers of squeeze-and-excitation.
    pub fn squeeze(&mut self) -> (String, String) {
        let name = format!("{}.{}", self.prefix, self.step);
        self.step += 1;
        (format!("{name}.fc1"), format!("{name}.fc2"))
    }

    /// The convolution that ends the block, without an activation.
    pub fn projection(mut self) -> Pair {
        match self.layout {
            Layout::MobilenetV2 => pair(&self.prefix, self.step),
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
