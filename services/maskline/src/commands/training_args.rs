//! The flags for what is trained, and the settings of training runs.

use anyhow::Result;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use maskline_messages::{Method, Optimizer, TrainingSettings, View};

/// What is trained if somebody asks for training and names nothing.
pub(super) const DEFAULT_METHOD: &str = "linear_probe";

/// Parses a flag that names what is to be trained: a network or the linear probe. `--help` and errors
/// list what there is.
pub(super) fn method_names() -> impl TypedValueParser<Value = Method> {
    let names = PossibleValuesParser::new(Method::ALL.map(Method::as_str));
    names.map(|name| name.parse().expect("it is one of the names"))
}

/// The settings that a person can choose. The others have their defaults.
#[derive(Debug, Clone, Args)]
pub(crate) struct TrainingArgs {
    /// The number of epochs: how often the network sees each training image
    #[arg(long, default_value_t = TrainingSettings::default().epochs)]
    epochs: u32,
    /// The number of images in a training step
    #[arg(long, default_value_t = TrainingSettings::default().batch)]
    batch: u32,
    /// The side of the network's square input, in pixels
    #[arg(long, default_value_t = TrainingSettings::default().pixels)]
    pixels: u32,
    /// What the network is shown of a picture: face (the largest face, or the whole picture if there
    /// is none) or whole
    #[arg(long, default_value_t = TrainingSettings::default().view)]
    view: View,
    /// The optimizer: adamw or sgd
    #[arg(long, default_value = "adamw")]
    optimizer: Optimizer,
    /// The peak of the cosine schedule of the learning rate
    #[arg(long, default_value_t = TrainingSettings::default().learning_rate)]
    learning_rate: f32,
    /// The weight decay: how strongly weights are pulled towards zero
    #[arg(long, default_value_t = TrainingSettings::default().weight_decay)]
    weight_decay: f32,
    /// The seed of the split, the augmentation and the training
    #[arg(long, default_value_t = TrainingSettings::default().seed)]
    seed: u64,
}

impl TrainingArgs {
    /// The settings. Those that no trainer accepts are an error at once.
    pub(crate) fn settings(&self) -> Result<TrainingSettings> {
        let settings = TrainingSettings {
            epochs: self.epochs,
            batch: self.batch,
            pixels: self.pixels,
            view: self.view,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            seed: self.seed,
            ..TrainingSettings::default()
        };
        settings.validate()?;
        Ok(settings)
    }
}
