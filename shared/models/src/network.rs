//! A network: a stem, the blocks of its table, a head and a classifier.

use burn::{
    module::Module,
    nn::{Dropout, DropoutConfig},
    tensor::{Device, Tensor},
};
use maskline_messages::NetworkName;

use crate::{
    block::{BlockConfig, InvertedResidual},
    device,
    error::ModelError,
    init::{Builder, Init, RandomValues},
    input::Standardization,
    layer::{Layer, LayerRow},
    layers::{ConvNorm, ConvNormConfig, Linear, Pass},
    ops::{Activation, Kernels},
    table::{Table, table},
};

/// One of the networks, as a Burn module.
///
/// It trains if its parameters and its input are on an autodiff device: then batch norm
/// takes the statistics of the batch, and dropout and stochastic depth drop values. The
/// network that `valid()` returns, or one on a device without autodiff, infers.
#[derive(Module, Debug)]
pub struct Network {
    stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    head: ConvNorm,
    hidden: Option<Linear>,
    dropout: Dropout,
    classifier: Linear,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    name: NetworkName,
    #[module(skip)]
    input: Standardization,
    classes: usize,
    /// The number of blocks that do not learn, nor does the stem before them. If it is 0, all
    /// layers learn.
    frozen: usize,
    /// The output is the mean of that for an image and of that for its mirror image.
    mirrors: bool,
    /// Burn's operations are used even where this crate has its own, to compare them.
    burn_only: bool,
}

impl Network {
    /// A network with random weights, drawn by torchvision's rules. The same seed gives the
    /// same weights on every device.
    pub fn new(name: NetworkName, classes: usize, seed: u64, device: &Device) -> Self {
        let mut source = RandomValues::new(seed);
        let builder = Builder {
            source: &mut source,
            device,
        };
        Self::build(builder, name, classes).expect("random values are drawn for every tensor")
    }

    /// A network with the values of the builder's source.
    pub(crate) fn build(
        mut builder: Builder,
        name: NetworkName,
        classes: usize,
    ) -> Result<Self, ModelError> {
        let builder = &mut builder;
        let table = table(name);
        let total = table.blocks();
        let stem = ConvNormConfig {
            channels: 3,
            filters: table.stem,
            kernel: 3,
            stride: 2,
            groups: 1,
            padding: table.padding,
            activation: table.activation,
            epsilon: table.epsilon,
        };
        let stem = ConvNorm::new(builder, table.layout.stem(), stem)?;
        let mut channels = table.stem;
        let mut blocks = Vec::with_capacity(total);
        for (at, stage) in table.stages.iter().enumerate() {
            for index in 0..stage.blocks {
                let names = table.layout.block(at, index, blocks.len());
                let config = BlockConfig {
                    channels,
                    stride: if index == 0 { stage.stride } else { 1 },
                    skip: table.stochastic_depth * blocks.len() as f64 / total as f64,
                };
                let block = InvertedResidual::new(builder, names, table, stage, config)?;
                blocks.push(block);
                channels = stage.channels;
            }
        }
        let head = ConvNormConfig {
            channels,
            filters: table.head,
            kernel: 1,
            stride: 1,
            groups: 1,
            padding: table.padding,
            activation: table.activation,
            epsilon: table.epsilon,
        };
        let names = table.layout.head(table.stages.len(), total);
        let head = ConvNorm::new(builder, names, head)?;
        let (hidden, classifier) = Self::classifier(builder, table, classes)?;
        Ok(Self {
            stem,
            blocks,
            head,
            hidden,
            dropout: DropoutConfig::new(table.dropout).init(),
            classifier,
            activation: table.activation,
            name,
            input: table.input,
            classes,
            frozen: 0,
            mirrors: false,
            burn_only: false,
        })
    }

    /// The hidden layer, if the table has one, and the last layer.
    fn classifier(
        builder: &mut Builder,
        table: &Table,
        classes: usize,
    ) -> Result<(Option<Linear>, Linear), ModelError> {
        let init = Init::CLASSIFIER;
        let hidden = match table.hidden {
            Some(width) => {
                let name = table.layout.hidden();
                Some(Linear::new(builder, name, table.head, width, init)?)
            }
            None => None,
        };
        let features = table.hidden.unwrap_or(table.head);
        let name = table.layout.classifier();
        Ok((hidden, Linear::new(builder, name, features, classes, init)?))
    }

    pub fn name(&self) -> NetworkName {
        self.name
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Returns logits `[batch, classes]` for images `[batch, 3, side, side]`, RGB, 0–1, as
    /// [`input`](crate::input) makes them.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        if !self.mirrors {
            return self.pass(images, None);
        }
        let mirrored = self.pass(images.clone().flip([3]), None);
        (self.pass(images, None) + mirrored) / 2.0
    }

    /// The same network, whose logits are the mean of those for an image and of those for its mirror
    /// image if `mirrors` is true. That takes twice the time.
    pub fn with_mirror_image(self, mirrors: bool) -> Self {
        Self { mirrors, ..self }
    }

    /// Returns the network as `valid()` does, with the running statistics of its batch norms
    /// computed anew: as the mean, over `batches`, of each batch's mean and unbiased
    /// variance. Dropout and stochastic depth drop nothing meanwhile.
    ///
    /// The statistics that training leaves behind belong to the weights of about ten steps
    /// ago. These belong to the weights as they are. The batches are the same as for
    /// [`Self::forward`], on a device without autodiff. Without batches the statistics stay.
    ///
    /// # Errors
    /// If the device can't compute the statistics, see [`device::read`].
    pub fn recalibrated(
        &self,
        batches: impl IntoIterator<Item = Tensor<4>>,
    ) -> Result<Self, ModelError> {
        let network = self.valid();
        for (before, images) in batches.into_iter().enumerate() {
            network.pass(images, Some(1.0 / (before + 1) as f64));
        }
        // Brings the last update into the statistics that are read.
        let network = network.valid();
        // They are read here, so that the caller knows which batches were too large. Otherwise a lack
        // of memory would turn up in every later output of the network, with any size of a batch.
        for layer in network.each_layer() {
            if let Layer::Norm(norm) = layer {
                device::read(norm.running_mean.value_sync())?;
                device::read(norm.running_variance.value_sync())?;
            }
        }
        Ok(network)
    }

    /// The number of features that [`Self::features`] gives for an image.
    pub fn feature_count(&self) -> usize {
        self.head.norm.weight.dims()[0]
    }

    /// Returns what the layers before the classifier make of images, `[batch, features]`: the
    /// means of the head's channels. The images are the same as for [`Self::forward`].
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        self.backbone(images, None)
    }

    /// The same network, whose stem and first `blocks` blocks do not learn: in training they compute
    /// what they compute in use, with their running statistics. If `blocks` is 0, all layers learn.
    ///
    /// # Errors
    /// See [`Self::check_frozen_blocks`].
    pub fn with_frozen_blocks(self, blocks: usize) -> Result<Self, ModelError> {
        Self::check_frozen_blocks(self.name, blocks)?;
        Ok(Self {
            frozen: blocks,
            ..self
        })
    }

    /// Checks that a network has this number of blocks, which are to be frozen.
    ///
    /// # Errors
    /// [`ModelError::FrozenBlocks`] if it has fewer.
    pub fn check_frozen_blocks(network: NetworkName, blocks: usize) -> Result<(), ModelError> {
        let all = table(network).blocks();
        match blocks <= all {
            true => Ok(()),
            false => Err(ModelError::FrozenBlocks {
                network,
                blocks,
                all,
            }),
        }
    }

    /// The same network with another stochastic depth (Huang et al., 2016): the probability that
    /// the last block is skipped in training, for an image. It grows evenly from the first block on,
    /// where it is 0.
    pub fn with_stochastic_depth(mut self, last: f64) -> Self {
        let total = self.blocks.len();
        for (index, block) in self.blocks.iter_mut().enumerate() {
            block.set_skip(last * index as f64 / total as f64);
        }
        self
    }

    /// The same network, which drops nothing in training. Devices draw other random values, so that
    /// only networks that draw none can be compared on them.
    pub fn without_dropping(self) -> Self {
        let mut network = self.with_stochastic_depth(0.0);
        network.dropout.prob = 0.0;
        network
    }

    /// How the network standardizes pixels.
    pub fn input(&self) -> Standardization {
        self.input
    }

    /// The same network with another standardization of its input.
    pub(crate) fn with_input(self, input: Standardization) -> Self {
        Self { input, ..self }
    }

    /// The same network with another last layer. `weight` is `[classes, features]`, in row-major
    /// order, and `bias` has a value for each class.
    ///
    /// # Errors
    /// [`ModelError::LastLayer`] if the numbers of values are others.
    pub fn with_classifier(self, weight: Vec<f32>, bias: Vec<f32>) -> Result<Self, ModelError> {
        let classifier = self.classifier.with_values(weight, bias, self.name)?;
        Ok(Self { classifier, ..self })
    }

    fn pass(&self, images: Tensor<4>, recompute: Option<f64>) -> Tensor<2> {
        let mut features = self.backbone(images, recompute);
        if let Some(hidden) = &self.hidden {
            features = self.activation.forward(hidden.forward(features));
        }
        self.classifier.forward(self.dropout.forward(features))
    }

    fn backbone(&self, images: Tensor<4>, recompute: Option<f64>) -> Tensor<2> {
        let kernels = match self.burn_only {
            true => Kernels::Burn,
            false => Kernels::of(&images.device()),
        };
        let pass = Pass { kernels, recompute };
        let (frozen, learning) = self.blocks.split_at(self.frozen);
        let input = self.input.standardize(images);
        let mut output = match frozen {
            [] => self.stem.forward(input, pass),
            frozen => self.frozen_part(input, frozen, kernels),
        };
        for block in learning {
            output = block.forward(output, pass);
        }
        output = self.head.forward(output, pass);
        let [batch, channels, height, width] = output.dims();
        let planes = output.reshape([batch, channels, height * width]);
        planes.mean_dim(2).reshape([batch, channels])
    }

    /// What the stem and these blocks compute, without gradients and with their running statistics.
    fn frozen_part(
        &self,
        input: Tensor<4>,
        blocks: &[InvertedResidual],
        kernels: Kernels,
    ) -> Tensor<4> {
        let pass = Pass {
            kernels,
            recompute: None,
        };
        let all = |stem: &ConvNorm, blocks: &[InvertedResidual], input| {
            let output = stem.forward(input, pass);
            let blocks = blocks.iter();
            blocks.fold(output, |output, block| block.forward(output, pass))
        };
        if !input.device().is_autodiff() {
            return all(&self.stem, blocks, input);
        }
        let valid: Vec<_> = blocks.iter().map(InvertedResidual::valid).collect();
        Tensor::from_inner(all(&self.stem.valid(), &valid, input.inner()))
    }

    /// The same network, which uses Burn's operations everywhere.
    pub fn with_burn_kernels(self) -> Self {
        Self {
            burn_only: true,
            ..self
        }
    }

    /// The number of trainable parameters, as torchvision counts them.
    pub fn parameters(&self) -> u64 {
        self.summary().iter().map(|row| row.parameters).sum()
    }

    /// The number of convolutions and linear layers.
    pub fn layers(&self) -> u64 {
        let weighted = |layer: &Layer| !matches!(layer, Layer::Norm(_));
        self.each_layer().into_iter().filter(weighted).count() as u64
    }

    /// Every layer with parameters, in the order of the forward pass.
    pub fn summary(&self) -> Vec<LayerRow> {
        self.each_layer().iter().map(Layer::row).collect()
    }

    /// Every layer with tensors, in the order of torchvision's state dict.
    pub(crate) fn each_layer(&self) -> Vec<Layer<'_>> {
        let mut layers = Vec::new();
        push(&mut layers, &self.stem);
        for block in &self.blocks {
            if let Some(expand) = &block.expand {
                push(&mut layers, expand);
            }
            push(&mut layers, &block.depthwise);
            if let Some(squeeze) = &block.squeeze {
                layers.push(Layer::Convolution(&squeeze.reduce));
                layers.push(Layer::Convolution(&squeeze.expand));
            }
            push(&mut layers, &block.project);
        }
        push(&mut layers, &self.head);
        layers.extend(self.hidden.as_ref().map(Layer::Linear));
        layers.push(Layer::Linear(&self.classifier));
        layers
    }
}

fn push<'a>(layers: &mut Vec<Layer<'a>>, pair: &'a ConvNorm) {
    layers.push(Layer::Convolution(&pair.convolution));
    layers.push(Layer::Norm(&pair.norm));
}
