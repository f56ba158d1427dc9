//! The settings of a training run.

use serde::{Deserialize, Serialize};
use strum::{EnumString, VariantNames};

use crate::invalid::UnknownName;

/// The rule by which a training step changes the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(
    serialize_all = "snake_case",
    parse_err_ty = UnknownName,
    parse_err_fn = unknown_optimizer
)]
pub enum Optimizer {
    Sgd,
    Adamw,
}

fn unknown_optimizer(text: &str) -> UnknownName {
    UnknownName::new::<Optimizer>(text, "an optimizer")
}

/// The settings of a training run. The run's id is derived from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingSettings {
    pub epochs: u32,
    pub batch: u32,
    /// The side of the square network input, in pixels.
    pub pixels: u32,
    pub optimizer: Optimizer,
    /// The learning rate at the peak of the cosine schedule.
    pub learning_rate: f32,
    pub weight_decay: f32,
    pub label_smoothing: f32,
    /// Epochs of linear warm-up. It need not be a whole number.
    pub warmup_epochs: f32,
    pub seed: u64,
}

impl Default for TrainingSettings {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch: 64,
            pixels: 112,
            optimizer: Optimizer::Adamw,
            learning_rate: 2e-3,
            weight_decay: 1e-2,
            label_smoothing: 0.1,
            warmup_epochs: 1.0,
            seed: 42,
        }
    }
}

impl TrainingSettings {
    /// The canonical JSON from which a run's id is derived.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self).expect("plain numbers")
    }
}
