//! The flags for what is trained, and the settings of training runs.

use anyhow::{Result, bail};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use maskline_messages::{Method, Optimizer, Start, TrainingChoices, View};
use maskline_storage::Stores;

use crate::start;

/// What is trained if somebody asks for training and names nothing.
pub(super) const DEFAULT_METHOD: &str = "linear_probe";

/// Parses a flag that names what is to be trained: a network or the linear probe. `--help` and errors
/// list what there is.
pub(super) fn method_names() -> impl TypedValueParser<Value = Method> {
    let names = PossibleValuesParser::new(Method::ALL.map(Method::as_str));
    names.map(|name| name.parse().expect("it is one of the names"))
}

/// The settings that a person can choose. Those that nobody chose depend on what is trained. A
/// linear probe has no use for most of them.
#[derive(Debug, Clone, Args)]
pub(crate) struct TrainingArgs {
    /// What the weights begin from: `scratch`, `pretrained` (EfficientNet-Lite0 comes with weights),
    /// the id of a model or its beginning, or a file of weights (.pth of torchvision, .safetensors)
    /// [default: pretrained for efficientnet_lite0, or else scratch]
    #[arg(long, value_name = "START|MODEL|FILE")]
    from: Option<String>,
    /// The number of epochs: how often the network sees each training image [default: 30, or 4 from
    /// other weights]
    #[arg(long)]
    epochs: Option<u32>,
    /// The number of images in a training step [default: 64, or 32 from other weights]
    #[arg(long)]
    batch: Option<u32>,
    /// The side of the network's square input, in pixels [default: 112, or 160 for a linear probe,
    /// which has no use for the other flags but --view and --seed]
    #[arg(long)]
    pixels: Option<u32>,
    /// What the network is shown of a picture: face (the best face, or the whole picture if there is
    /// none) or whole [default: face]
    #[arg(long)]
    view: Option<View>,
    /// The optimizer: adamw or sgd [default: adamw]
    #[arg(long)]
    optimizer: Option<Optimizer>,
    /// The peak of the cosine schedule of the learning rate [default: 0.002]
    #[arg(long)]
    learning_rate: Option<f32>,
    /// The learning rate of the layers before the last, as a share of the learning rate [default: 1,
    /// or 0.25 from other weights]
    #[arg(long, value_name = "SHARE")]
    backbone_rate: Option<f32>,
    /// How many of the first blocks keep the weights that they begin from, and the stem with them
    /// [default: 0, or 3 from other weights]
    #[arg(long, value_name = "BLOCKS")]
    frozen_blocks: Option<u32>,
    /// The weight decay: how strongly weights are pulled towards zero [default: 0.01, or 0.02 from
    /// other weights]
    #[arg(long)]
    weight_decay: Option<f32>,
    /// The share of each target that is spread over all classes [default: 0.1]
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f32>,
    /// The epochs in which the learning rate rises to its peak [default: 1, or 0.4 from other
    /// weights]
    #[arg(long, value_name = "EPOCHS")]
    warmup_epochs: Option<f32>,
    /// The probability that the last block is skipped in training, for an image [default: that of
    /// torchvision, or 0.1 from other weights]
    #[arg(long, value_name = "PROBABILITY")]
    stochastic_depth: Option<f32>,
    /// Publish the mean of the weights, of which so much stays in a step (EMA) [default: 0, no mean]
    #[arg(long, value_name = "SHARE")]
    ema: Option<f32>,
    /// The share of the steps in which images are mixed with others; with --cutmix at most 1
    /// [default: 0]
    #[arg(long, value_name = "SHARE")]
    mixup: Option<f32>,
    /// The share of the steps in which images get a part of others; with --mixup at most 1
    /// [default: 0]
    #[arg(long, value_name = "SHARE")]
    cutmix: Option<f32>,
    /// The seed of the split, the augmentation and the training
    #[arg(long, default_value_t = TrainingChoices::default().seed)]
    seed: u64,
}

impl TrainingArgs {
    /// What was chosen for the training of `methods`. Settings that no trainer accepts are an error
    /// at once. What `--from` names in the stores or in a file is looked up by [`Self::start`].
    pub(crate) fn choices(&self, methods: &[Method]) -> Result<TrainingChoices> {
        if self.from.is_some() && methods.contains(&Method::LinearProbe) {
            bail!(
                "the linear probe always begins from the pretrained weights that maskline comes \
                 with: name the network that begins from {}, with --network for maskline train, or \
                 with --train",
                self.from.as_deref().unwrap_or_default()
            );
        }
        let choices = TrainingChoices {
            epochs: self.epochs,
            batch: self.batch,
            pixels: self.pixels,
            view: self.view,
            start: self.from.as_deref().and_then(start::of_word),
            frozen_blocks: self.frozen_blocks,
            backbone_rate: self.backbone_rate,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            label_smoothing: self.label_smoothing,
            warmup_epochs: self.warmup_epochs,
            stochastic_depth: self.stochastic_depth,
            ema: self.ema,
            mixup: self.mixup,
            cutmix: self.cutmix,
            seed: self.seed,
        };
        choices.validate(methods)?;
        Ok(choices)
    }

    /// What the weights of `methods` begin from. A file is stored, so that every trainer finds it.
    pub(crate) async fn start(&self, methods: &[Method], stores: &Stores) -> Result<Option<Start>> {
        match &self.from {
            None => Ok(None),
            Some(from) => start::resolved(from, methods, stores).await.map(Some),
        }
    }
}
