//! How a dataset is divided, and how a network is trained on it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::invalid::InvalidId;

/// How the weights move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    Sgd,
    Adamw,
}

impl FromStr for Optimizer {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "sgd" => Ok(Self::Sgd),
            "adamw" => Ok(Self::Adamw),
            _ => Err(InvalidId {
                text: text.chars().take(80).collect(),
                expected: "an optimizer (sgd, adamw)",
            }),
        }
    }
}

/// How a dataset is divided into a training and a validation split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SplitSettings {
    /// The share of each class that goes to the validation split, 0 to 1.
    pub validation: f64,
    pub seed: u64,
    /// Two images are near-duplicates, and stay in one split, if their perceptual
    /// hashes, mirrored or not, differ in at most this many of 64 bits.
    pub near_distance: u32,
}

impl Default for SplitSettings {
    fn default() -> Self {
        Self {
            validation: 0.2,
            seed: 42,
            near_distance: 4,
        }
    }
}

/// How a network is trained. The id of a training run is derived from its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingSettings {
    pub epochs: u32,
    pub batch: u32,
    /// The side of the square network input, in pixels.
    pub pixels: u32,
    pub optimizer: Optimizer,
    /// The peak of the cosine schedule.
    pub learning_rate: f32,
    pub weight_decay: f32,
    pub label_smoothing: f32,
    /// Epochs of linear warm-up; fractions allowed.
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
