//! The flags for what is trained, and the settings of training runs.

use anyhow::{Result, bail};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use maskline_messages::{Method, Optimizer, Start, TrainingChoices, View, WeightsId};
use maskline_models::Network;
use maskline_storage::Stores;

use crate::start::{self, Origin};

/// What is trained if somebody asks for training and names nothing.
pub(super) const DEFAULT_METHOD: &str = "linear_probe";

/// Parses a flag that names what is to be trained: a network or the linear probe. `--help` and errors
/// list what there is.
pub(super) fn method_names() -> impl TypedValueParser<Value = Method> {
    let names = PossibleValuesParser::new(Method::ALL.map(Method::as_str));
    names.map(|name| name.parse().expect("it is one of the names"))
}

/// What is trained on a collection when it is frozen.
#[derive(Debug, Clone, Args)]
pub(crate) struct TrainArgs {
    /// What to train when the collection is frozen: networks, or a linear probe, which takes
    /// seconds. If nothing is named, it is the linear probe
    #[arg(
        long = "train",
        id = "train",
        value_name = "NETWORKS",
        value_delimiter = ',',
        value_parser = method_names(),
        num_args = 0..=1,
        default_missing_value = DEFAULT_METHOD
    )]
    pub(crate) methods: Vec<Method>,
    #[command(flatten)]
    training: TrainingArgs,
}

impl TrainArgs {
    /// The settings that were chosen, as [`TrainingArgs::choices`] gives them.
    pub(crate) fn choices(&self) -> Result<TrainingChoices> {
        self.training.choices(&self.methods)
    }

    /// What the weights begin from, see [`TrainingArgs::start`].
    pub(crate) async fn start(&self, stores: &Stores) -> Result<Option<Start>> {
        self.training.start(&self.methods, stores).await
    }
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
    /// The number of epochs: how often the network sees each training image [default: 30, 60
    /// for mobilenet_v3_small, or 4 from other weights]
    #[arg(long)]
    epochs: Option<u32>,
    /// The number of images in a training step [default: 32]
    #[arg(long)]
    batch: Option<u32>,
    /// The side of the network's square input, in pixels [default: 112, or 160 for a linear probe,
    /// which has no use for the other flags but --view and --seed]
    #[arg(long)]
    pixels: Option<u32>,
    /// What the network is shown of a picture: close_up (the best face), face (that with hair and
    /// neck) or whole; without a face always the whole picture [default: close_up, or face for a linear
    /// probe]
    #[arg(long)]
    view: Option<View>,
    /// The optimizer: adamw or sgd [default: adamw]
    #[arg(long)]
    optimizer: Option<Optimizer>,
    /// The peak of the cosine schedule of the learning rate [default: 0.002 for adamw; 0.05 for sgd,
    /// or 0.01 from other weights]
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
    /// The weight decay: how strongly weights are pulled towards zero [default: 0.01 for adamw, or
    /// 0.02 from other weights; 0.0001 for sgd]
    #[arg(long)]
    weight_decay: Option<f32>,
    /// The share of each target that is spread over all classes [default: 0.1]
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f32>,
    /// The epochs in which the learning rate rises to its peak [default: 1, or 0.4 from other
    /// weights, but at most a fifth of the epochs]
    #[arg(long, value_name = "EPOCHS")]
    warmup_epochs: Option<f32>,
    /// The probability that the last block is skipped in training, for an image [default: that of
    /// torchvision, or 0.1 from other weights]
    #[arg(long, value_name = "PROBABILITY")]
    stochastic_depth: Option<f32>,
    /// Publish the mean of the weights, of which so much stays in a step (EMA) [default: 0.99,
    /// or 0 from other weights: no mean]
    #[arg(long, value_name = "SHARE")]
    ema: Option<f32>,
    /// Whether each prediction is the mean of that for the picture and of that for its mirror image,
    /// which takes twice the time [default: true, or false from other weights]
    #[arg(long, value_name = "true|false")]
    mirror_image: Option<bool>,
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
    /// What `--from` names.
    pub(crate) fn from(&self) -> Option<&str> {
        self.from.as_deref()
    }

    /// What was chosen for the training of `methods`. Settings that no trainer accepts are an error
    /// at once. What `--from` names in the stores or in a file is looked up by [`Self::start`].
    pub(crate) fn choices(&self, methods: &[Method]) -> Result<TrainingChoices> {
        if let Some(from) = &self.from
            && methods.contains(&Method::LinearProbe)
        {
            bail!(
                "the linear probe always begins from the pretrained weights that maskline comes \
                 with: name the network that begins from {from}, with --network for maskline train, \
                 or with --train"
            );
        }
        let choices = self.chosen();
        let has_network = methods.iter().any(|method| *method != Method::LinearProbe);
        if let (false, Some(flags)) = (has_network, flags(&choices)) {
            let problem = match methods {
                [] => "nothing is trained that would use",
                _ => "a linear probe has no use for",
            };
            bail!("{problem} {flags}: name a network, or leave the flags out");
        }
        if methods.is_empty() && self.from.is_some() {
            bail!("nothing is trained that could begin from --from: name a network with --train");
        }
        self.check(&choices, methods)?;
        Ok(choices)
    }

    fn chosen(&self) -> TrainingChoices {
        TrainingChoices {
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
            mirror_image: self.mirror_image,
            mixup: self.mixup,
            cutmix: self.cutmix,
            seed: self.seed,
        }
    }

    fn check(&self, choices: &TrainingChoices, methods: &[Method]) -> Result<()> {
        // The id of weights that are still to be stored is not known, and any id does: settings
        // depend only on whether there are weights to begin from.
        let stored = self.from.as_ref();
        let stored = stored.map(|from| Start::Stored(WeightsId::of(from.as_bytes())));
        let choices = TrainingChoices {
            start: choices.start.or(stored),
            ..choices.clone()
        };
        choices.validate(methods)?;
        for &method in methods {
            let blocks = choices.settings(method).frozen_blocks as usize;
            Network::check_frozen_blocks(method.network(), blocks)?;
        }
        Ok(())
    }

    /// What the weights of `methods` begin from. A file is stored, so that every trainer finds it.
    pub(crate) async fn start(&self, methods: &[Method], stores: &Stores) -> Result<Option<Start>> {
        match &self.from {
            None => Ok(None),
            Some(from) => {
                let origin = Origin::read(from, stores).await?;
                origin.start(methods, stores).await.map(Some)
            }
        }
    }
}

/// The chosen flags that only networks use, as a person writes them.
fn flags(choices: &TrainingChoices) -> Option<String> {
    let names = choices.without_use_for_a_probe().into_iter();
    let flags: Vec<String> = names
        .map(|name| format!("--{}", name.replace('_', "-")))
        .collect();
    let (last, others) = flags.split_last()?;
    Some(match others {
        [] => last.clone(),
        _ => format!("{} and {last}", others.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use maskline_messages::NetworkName;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        training: TrainingArgs,
    }

    fn choices(flags: &[&str], method: impl Into<Method>) -> Result<TrainingChoices> {
        let flags = std::iter::once("train").chain(flags.iter().copied());
        Flags::parse_from(flags).training.choices(&[method.into()])
    }

    #[test]
    fn more_frozen_blocks_than_a_network_has_are_refused_with_their_number() {
        let v3_small = NetworkName::MobilenetV3Small;
        let of = |blocks| {
            choices(
                &["--from", "weights.pth", "--frozen-blocks", blocks],
                v3_small,
            )
        };
        assert_eq!(of("11").unwrap().frozen_blocks, Some(11));
        let refused = of("12").unwrap_err().to_string();
        let expected = "12 blocks can't be frozen: mobilenet_v3_small has 11";
        assert_eq!(refused, expected);
        // Random weights would never learn.
        let refused = choices(&["--frozen-blocks", "3"], v3_small).unwrap_err();
        assert!(refused.to_string().contains("random weights"), "{refused}");
    }

    #[test]
    fn flags_that_nothing_would_use_are_refused() {
        let chosen = [
            "--epochs",
            "60",
            "--learning-rate",
            "0.01",
            "--pixels",
            "96",
        ];
        let refused = choices(&chosen, Method::LinearProbe).unwrap_err();
        let expected = "a linear probe has no use for --epochs and --learning-rate: name a network, \
                        or leave the flags out";
        assert_eq!(refused.to_string(), expected);
        let flags = ["train", "--epochs", "60"];
        let both = Flags::parse_from(flags).training;
        let small = NetworkName::MobilenetV3Small.into();
        both.choices(&[small, Method::LinearProbe]).unwrap();
        let refused = both.choices(&[]).unwrap_err().to_string();
        assert!(refused.contains("would use --epochs"), "{refused}");
        let from = Flags::parse_from(["train", "--from", "scratch"]).training;
        let refused = from.choices(&[]).unwrap_err().to_string();
        assert!(refused.contains("begin from --from"), "{refused}");
    }

    #[test]
    fn a_linear_probe_begins_from_nothing_else() {
        let refused = choices(&["--from", "weights.pth"], Method::LinearProbe).unwrap_err();
        assert!(
            refused.to_string().contains("begins from weights.pth"),
            "{refused}"
        );
    }
}
