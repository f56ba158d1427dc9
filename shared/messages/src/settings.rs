//! How a dataset is divided, and how a network is trained on it.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};
use strum::{EnumString, VariantNames};
use thiserror::Error;

use crate::{invalid::UnknownName, start::Start, view::View};

/// The rule by which a training step moves the weights.
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
    /// Two details of images can be the same if their hashes differ in at most this many of 63
    /// bits. Images that have details of one photograph stay in one split, too. `None`, as in the
    /// collections of earlier builds, means that details are not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail_distance: Option<u32>,
}

impl Default for SplitSettings {
    fn default() -> Self {
        Self {
            validation: 0.2,
            seed: 42,
            near_distance: 4,
            detail_distance: Some(8),
        }
    }
}

/// How a network is trained. The id of a training run is derived from its settings. A setting that
/// the JSON of an earlier build lacks has the value that it had in effect then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingSettings {
    /// How often the network sees each training image.
    pub epochs: u32,
    /// The number of images in a step.
    pub batch: u32,
    /// The side of the network's square input, in pixels.
    pub pixels: u32,
    /// What the network is shown of a picture.
    #[serde(default = "View::of_earlier_builds")]
    pub view: View,
    /// What the weights begin from.
    pub start: Start,
    /// The stem and so many blocks after it stay as they are. If it is 0, all layers learn.
    pub frozen_blocks: u32,
    /// The learning rate of the layers before the classifier, as a share of the learning rate.
    pub backbone_rate: f32,
    pub optimizer: Optimizer,
    /// The learning rate at the peak of the cosine schedule.
    pub learning_rate: f32,
    /// How strongly the weights are drawn to zero.
    pub weight_decay: f32,
    /// The share of each target that is spread evenly over all classes, 0 to 1.
    pub label_smoothing: f32,
    /// The epochs in which the learning rate rises to its peak. This need not be a whole
    /// number.
    pub warmup_epochs: f32,
    /// The probability that the last block is skipped in training, for an image; it grows from 0 at
    /// the first block. `None` is that of torchvision: 0.2 for EfficientNets, and 0 for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stochastic_depth: Option<f32>,
    /// How much of the mean of the weights stays in a step, 0 to 1. The mean is published (EMA). If
    /// it is 0, the weights themselves are.
    pub ema: f32,
    /// Whether a prediction is the mean of that for an image and of that for its mirror image, which
    /// takes twice the time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirror_image: bool,
    /// The share of the steps in which images are mixed with others: mixup.
    pub mixup: f32,
    /// The share of the steps in which images get a part of others: CutMix.
    pub cutmix: f32,
    /// The seed of all random numbers: weights, order, augmentation and dropout.
    pub seed: u64,
}

impl Default for TrainingSettings {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch: 32,
            pixels: 112,
            view: View::CloseUp,
            start: Start::Scratch,
            frozen_blocks: 0,
            backbone_rate: 1.0,
            optimizer: Optimizer::Adamw,
            learning_rate: 2e-3,
            weight_decay: 1e-2,
            label_smoothing: 0.1,
            warmup_epochs: 1.0,
            stochastic_depth: None,
            ema: 0.0,
            mirror_image: true,
            mixup: 0.0,
            cutmix: 0.0,
            seed: 42,
        }
    }
}

/// A setting with which no network can be trained.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{setting} can't be {value}: give {wanted}")]
pub struct InvalidSetting {
    pub setting: &'static str,
    pub value: String,
    /// The values that are allowed, in words.
    pub wanted: &'static str,
}

/// The sides that the square input of a network can have, in pixels. The networks halve it five
/// times.
pub const PIXELS: RangeInclusive<u32> = 32..=1024;

impl TrainingSettings {
    /// The canonical JSON from which the id of a run is derived.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self).expect("plain numbers")
    }

    /// Checks that a network can be trained with these settings.
    ///
    /// # Errors
    /// Names the first setting with which none can.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let is_positive = |value: f32| value.is_finite() && value > 0.0;
        let is_not_negative = |value: f32| value.is_finite() && value >= 0.0;
        let Self {
            epochs,
            batch,
            pixels: side,
            view: _,
            start,
            frozen_blocks,
            backbone_rate,
            optimizer: _,
            learning_rate,
            weight_decay,
            label_smoothing,
            warmup_epochs,
            stochastic_depth,
            ema,
            mirror_image: _,
            mixup,
            cutmix,
            seed,
        } = self;
        let is_share = |value: f32| (0.0..=1.0).contains(&value);
        let depth = stochastic_depth.unwrap_or_default();
        let mixed = mixup + cutmix;
        let learns_all = *start != Start::Scratch || *frozen_blocks == 0;
        let rules: [(bool, &str, &dyn fmt::Display, &str); 15] = [
            (
                (1..=100_000).contains(epochs),
                "epochs",
                epochs,
                "1 to 100,000",
            ),
            (
                (1..=4096).contains(batch),
                "batch",
                batch,
                "1 to 4096 images",
            ),
            (
                *batch > 1 || mixed == 0.0,
                "batch",
                batch,
                "2 images or more, which mixup and cutmix mix with each other",
            ),
            (PIXELS.contains(side), "pixels", side, "32 to 1024"),
            (
                is_positive(*learning_rate),
                "the learning rate",
                learning_rate,
                "a number above 0",
            ),
            (
                is_not_negative(*weight_decay),
                "the weight decay",
                weight_decay,
                "a number from 0 on",
            ),
            (
                (0.0..1.0).contains(label_smoothing),
                "the label smoothing",
                label_smoothing,
                "from 0 to below 1",
            ),
            (
                is_not_negative(*warmup_epochs),
                "the warm-up",
                warmup_epochs,
                "a number of epochs from 0 on",
            ),
            (
                learns_all,
                "the number of frozen blocks",
                frozen_blocks,
                "0 for random weights, which would never learn",
            ),
            (
                is_not_negative(*backbone_rate),
                "the learning rate of the backbone",
                backbone_rate,
                "a share of the learning rate from 0 on",
            ),
            (
                (0.0..1.0).contains(&depth),
                "the stochastic depth",
                &depth,
                "from 0 to below 1",
            ),
            (
                (0.0..1.0).contains(ema),
                "the EMA",
                ema,
                "from 0 to below 1",
            ),
            (
                is_share(*mixup),
                "mixup",
                mixup,
                "a share of the steps, 0 to 1",
            ),
            (
                is_share(*cutmix) && is_share(mixed),
                "cutmix",
                cutmix,
                "a share of the steps, 0 to 1, and with mixup at most 1",
            ),
            (
                i64::try_from(*seed).is_ok(),
                "the seed",
                seed,
                "0 to 9223372036854775807, the largest number that MongoDB can store",
            ),
        ];
        match rules.iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, setting, value, wanted)) => Err(InvalidSetting {
                setting,
                value: value.to_string(),
                wanted,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_of_earlier_builds_do_not_compare_details() {
        let earlier = r#"{"validation":0.2,"seed":42,"near_distance":4}"#;
        let earlier: SplitSettings = serde_json::from_str(earlier).unwrap();
        assert_eq!(earlier.detail_distance, None);
        let settings = SplitSettings::default();
        let json = serde_json::to_string(&settings).unwrap();
        let read: SplitSettings = serde_json::from_str(&json).unwrap();
        assert_eq!((read.detail_distance, read), (Some(8), settings));
    }

    #[test]
    fn the_default_settings_are_valid() {
        TrainingSettings::default().validate().unwrap();
    }

    #[test]
    fn the_runs_of_earlier_builds_were_shown_whole_pictures() {
        let earlier: TrainingSettings = serde_json::from_str(r#"{"epochs":3}"#).unwrap();
        assert_eq!((earlier.epochs, earlier.view), (3, View::Whole));
        assert!(!earlier.mirror_image);
        let settings = TrainingSettings::default();
        let read: TrainingSettings = serde_json::from_str(&settings.canonical()).unwrap();
        assert_eq!(read, settings);
    }

    #[test]
    fn an_invalid_setting_is_named_with_what_is_wanted() {
        type Change = fn(&mut TrainingSettings);
        let cases: [(Change, &str); 16] = [
            (|s| s.epochs = 0, "epochs can't be 0"),
            (|s| s.batch = 0, "batch can't be 0"),
            (
                |s| (s.batch, s.mixup) = (1, 1.0),
                "batch can't be 1: give 2 images or more",
            ),
            (|s| s.pixels = 31, "32 to 1024"),
            (|s| s.learning_rate = f32::NAN, "learning rate can't be NaN"),
            (|s| s.learning_rate = 0.0, "above 0"),
            (|s| s.weight_decay = -0.1, "weight decay can't be -0.1"),
            (|s| s.label_smoothing = 1.0, "below 1"),
            (|s| s.warmup_epochs = f32::INFINITY, "warm-up can't be inf"),
            (
                |s| s.seed = 1 << 63,
                "the seed can't be 9223372036854775808: give 0 to",
            ),
            (
                |s| s.frozen_blocks = 3,
                "frozen blocks can't be 3: give 0 for random",
            ),
            (|s| s.backbone_rate = -1.0, "of the backbone can't be -1"),
            (|s| s.stochastic_depth = Some(1.0), "stochastic depth"),
            (|s| s.ema = 1.0, "the EMA can't be 1"),
            (|s| s.mixup = 1.5, "mixup can't be 1.5"),
            (
                |s| (s.mixup, s.cutmix) = (0.6, 0.6),
                "cutmix can't be 0.6: give a share",
            ),
        ];
        for (change, expected) in cases {
            let mut settings = TrainingSettings::default();
            change(&mut settings);
            let refused = settings.validate().unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
