//! The settings of training that somebody chose. What nobody chose depends on what is trained.

use serde::{Deserialize, Serialize};

use crate::{
    method::Method,
    network::NetworkName,
    settings::{InvalidSetting, Optimizer, TrainingSettings},
    start::Start,
    view::View,
};

/// The settings of training that somebody chose, see [`TrainingSettings`]. The others are `None`,
/// and [`Self::settings`] fills them in for each network.
///
/// The jobs of earlier builds have all settings that there were then. What came since, such as the
/// view, is that of a new job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingChoices {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_blocks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone_rate: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<Optimizer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_epochs: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stochastic_depth: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_image: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixup: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutmix: Option<f32>,
    /// The seed of all random numbers. It is that of the collection's split as well.
    pub seed: u64,
}

impl Default for TrainingChoices {
    fn default() -> Self {
        Self {
            epochs: None,
            batch: None,
            pixels: None,
            view: None,
            start: None,
            frozen_blocks: None,
            backbone_rate: None,
            optimizer: None,
            learning_rate: None,
            weight_decay: None,
            label_smoothing: None,
            warmup_epochs: None,
            stochastic_depth: None,
            ema: None,
            mirror_image: None,
            mixup: None,
            cutmix: None,
            seed: TrainingSettings::default().seed,
        }
    }
}

impl TrainingChoices {
    /// The settings of a run that trains `method`: what was chosen, and the usual settings of
    /// `method` for the rest.
    pub fn settings(&self, method: Method) -> TrainingSettings {
        let usual = self.usual(method);
        if method == Method::LinearProbe {
            // A probe has no use for the others. With them in its settings the same probe would be
            // several runs.
            return TrainingSettings {
                pixels: self.pixels.unwrap_or(usual.pixels),
                view: self.view.unwrap_or(usual.view),
                seed: self.seed,
                ..usual
            };
        }
        TrainingSettings {
            epochs: self.epochs.unwrap_or(usual.epochs),
            batch: self.batch.unwrap_or(usual.batch),
            pixels: self.pixels.unwrap_or(usual.pixels),
            view: self.view.unwrap_or(usual.view),
            start: usual.start,
            frozen_blocks: self.frozen_blocks.unwrap_or(usual.frozen_blocks),
            backbone_rate: self.backbone_rate.unwrap_or(usual.backbone_rate),
            optimizer: usual.optimizer,
            learning_rate: self.learning_rate.unwrap_or(usual.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(usual.weight_decay),
            label_smoothing: self.label_smoothing.unwrap_or(usual.label_smoothing),
            warmup_epochs: self.warmup_epochs.unwrap_or(usual.warmup_epochs),
            stochastic_depth: self.stochastic_depth.or(usual.stochastic_depth),
            ema: self.ema.unwrap_or(usual.ema),
            mirror_image: self.mirror_image.unwrap_or(usual.mirror_image),
            mixup: self.mixup.unwrap_or(usual.mixup),
            cutmix: self.cutmix.unwrap_or(usual.cutmix),
            seed: self.seed,
        }
    }

    /// The usual settings of what is trained, which begins from what was chosen or from what it
    /// usually begins from.
    fn usual(&self, method: Method) -> TrainingSettings {
        let mut usual = with_adamw(method, self.start);
        if method != Method::LinearProbe && self.optimizer == Some(Optimizer::Sgd) {
            usual.optimizer = Optimizer::Sgd;
            usual.learning_rate = match usual.start {
                Start::Scratch => 5e-2,
                Start::Pretrained | Start::Stored(_) => 1e-2,
            };
            usual.weight_decay = 1e-4;
        }
        if let Some(epochs) = self.epochs {
            // A run that is shorter than usual still ends with small steps.
            let most = WARMUP_SHARE * epochs as f32;
            usual.warmup_epochs = usual.warmup_epochs.min(most);
        }
        usual
    }

    /// The names of the chosen settings for which a linear probe has no use.
    pub fn without_use_for_a_probe(&self) -> Vec<&'static str> {
        let Self {
            epochs,
            batch,
            pixels: _,
            view: _,
            start: _,
            frozen_blocks,
            backbone_rate,
            optimizer,
            learning_rate,
            weight_decay,
            label_smoothing,
            warmup_epochs,
            stochastic_depth,
            ema,
            mirror_image,
            mixup,
            cutmix,
            seed: _,
        } = self;
        let chosen = [
            ("epochs", epochs.is_some()),
            ("batch", batch.is_some()),
            ("frozen_blocks", frozen_blocks.is_some()),
            ("backbone_rate", backbone_rate.is_some()),
            ("optimizer", optimizer.is_some()),
            ("learning_rate", learning_rate.is_some()),
            ("weight_decay", weight_decay.is_some()),
            ("label_smoothing", label_smoothing.is_some()),
            ("warmup_epochs", warmup_epochs.is_some()),
            ("stochastic_depth", stochastic_depth.is_some()),
            ("ema", ema.is_some()),
            ("mirror_image", mirror_image.is_some()),
            ("mixup", mixup.is_some()),
            ("cutmix", cutmix.is_some()),
        ];
        let chosen = chosen.into_iter().filter(|(_, is_chosen)| *is_chosen);
        chosen.map(|(name, _)| name).collect()
    }

    /// Checks the settings of each of these methods.
    ///
    /// # Errors
    /// Names the first setting with which no network can be trained.
    pub fn validate(&self, methods: &[Method]) -> Result<(), InvalidSetting> {
        methods
            .iter()
            .try_for_each(|&method| self.settings(method).validate())
    }
}

/// The usual settings with AdamW of what is trained, which begins from `start` or from what it usually
/// begins from.
fn with_adamw(method: Method, start: Option<Start>) -> TrainingSettings {
    match method {
        Method::LinearProbe => TrainingSettings {
            pixels: PROBE_PIXELS,
            view: View::Face,
            start: Start::Pretrained,
            // Its features in the mirror change the accuracy by less than 0.1 points.
            mirror_image: false,
            ..TrainingSettings::default()
        },
        Method::Network(network) => {
            let start = start.unwrap_or(match network {
                NetworkName::EfficientnetLite0 => Start::Pretrained,
                _ => Start::Scratch,
            });
            match start {
                Start::Scratch => from_scratch(network),
                Start::Pretrained | Start::Stored(_) => fine_tuning(start),
            }
        }
    }
}

/// The usual warm-up takes at most this share of the epochs.
const WARMUP_SHARE: f32 = 0.2;

/// The side of the pictures of a linear probe. A larger one costs seconds, where it costs a network
/// that learns minutes.
const PROBE_PIXELS: u32 = 160;

/// The weights of single steps are right on photographs from elsewhere now more and now less often.
/// Their mean over about a hundred steps is so more often, and in each run alike. MobileNetV3-small
/// still gets better after thirty epochs, and takes no longer for sixty than the others for thirty.
fn from_scratch(network: NetworkName) -> TrainingSettings {
    let usual = TrainingSettings::default();
    TrainingSettings {
        epochs: match network {
            NetworkName::MobilenetV3Small => 60,
            _ => usual.epochs,
        },
        ema: 0.99,
        ..usual
    }
}

/// A network that has learnt from a million photographs what edges and textures are learns from a
/// few thousand in a few epochs what a mask is. Its first layers stay as they are, and the others
/// move slowly.
fn fine_tuning(start: Start) -> TrainingSettings {
    TrainingSettings {
        epochs: 4,
        start,
        frozen_blocks: 3,
        backbone_rate: 0.25,
        weight_decay: 2e-2,
        warmup_epochs: 0.4,
        stochastic_depth: Some(0.1),
        // What it has learnt from a million photographs is the same in the mirror.
        mirror_image: false,
        ..TrainingSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WeightsId;

    const LITE0: Method = Method::Network(NetworkName::EfficientnetLite0);
    const SMALL: Method = Method::Network(NetworkName::MobilenetV3Small);

    #[test]
    fn what_nobody_chose_depends_on_what_is_trained() {
        let none = TrainingChoices::default();
        assert_eq!(
            none.settings(SMALL),
            from_scratch(NetworkName::MobilenetV3Small)
        );
        assert_eq!(none.settings(LITE0).start, Start::Pretrained);
        assert!(none.settings(LITE0).epochs < none.settings(SMALL).epochs);
        let mirrored = [LITE0, SMALL, Method::LinearProbe];
        let mirrored = mirrored.map(|method| none.settings(method).mirror_image);
        assert_eq!(mirrored, [false, true, false]);
        let stored = Start::Stored(WeightsId::of(b"weights"));
        let chosen = TrainingChoices {
            start: Some(stored),
            pixels: Some(64),
            seed: 7,
            ..none.clone()
        };
        let settings = chosen.settings(SMALL);
        assert_eq!((settings.start, settings.frozen_blocks), (stored, 3));
        assert_eq!((settings.pixels, settings.seed), (64, 7));
        let scratch = TrainingChoices {
            start: Some(Start::Scratch),
            ..none
        };
        let lite0 = scratch.settings(LITE0);
        assert_eq!(lite0, from_scratch(NetworkName::EfficientnetLite0));
        assert!(lite0.epochs < none.settings(SMALL).epochs);
    }

    #[test]
    fn the_usual_steps_depend_on_the_optimizer_and_the_usual_warm_up_on_the_epochs() {
        let sgd = TrainingChoices {
            optimizer: Some(Optimizer::Sgd),
            epochs: Some(2),
            ..TrainingChoices::default()
        };
        let adamw = TrainingSettings::default();
        let settings = sgd.settings(SMALL);
        assert!(settings.learning_rate > 10.0 * adamw.learning_rate);
        assert!(settings.weight_decay < 0.1 * adamw.weight_decay);
        assert!(settings.learning_rate > sgd.settings(LITE0).learning_rate);
        assert_eq!(settings.warmup_epochs, 0.4);
        let chosen = TrainingChoices {
            warmup_epochs: Some(1.0),
            weight_decay: Some(0.5),
            ..sgd
        };
        let settings = chosen.settings(SMALL);
        assert_eq!((settings.warmup_epochs, settings.weight_decay), (1.0, 0.5));
        let unused = chosen.without_use_for_a_probe();
        let expected = ["epochs", "optimizer", "weight_decay", "warmup_epochs"];
        assert_eq!(unused, expected);
    }

    #[test]
    fn a_probe_is_the_same_whatever_is_chosen_for_networks() {
        let chosen = TrainingChoices {
            epochs: Some(7),
            ema: Some(0.9),
            ..TrainingChoices::default()
        };
        let usual = TrainingChoices::default().settings(Method::LinearProbe);
        assert_eq!(chosen.settings(Method::LinearProbe), usual);
        let small = TrainingChoices {
            pixels: Some(64),
            ..chosen
        };
        assert_eq!(small.settings(Method::LinearProbe).pixels, 64);
    }

    #[test]
    fn usual_settings_are_valid_and_an_invalid_choice_is_not() {
        TrainingChoices::default().validate(&Method::ALL).unwrap();
        let none = TrainingChoices {
            epochs: Some(0),
            ..TrainingChoices::default()
        };
        assert_eq!(none.validate(&Method::ALL).unwrap_err().setting, "epochs");
    }

    #[test]
    fn the_jobs_of_earlier_builds_keep_their_settings_and_get_the_new_ones() {
        let earlier = r#"{"epochs":3,"batch":8,"pixels":64,"optimizer":"sgd","learning_rate":0.5,
            "weight_decay":0.25,"label_smoothing":0.125,"warmup_epochs":1.0,"seed":7}"#;
        let choices: TrainingChoices = serde_json::from_str(earlier).unwrap();
        let settings = choices.settings(SMALL);
        assert_eq!(
            (settings.epochs, settings.batch, settings.pixels),
            (3, 8, 64)
        );
        assert_eq!((settings.optimizer, settings.seed), (Optimizer::Sgd, 7));
        assert_eq!(
            (settings.view, settings.start),
            (View::CloseUp, Start::Scratch)
        );
        let json = serde_json::to_string(&TrainingChoices::default()).unwrap();
        assert_eq!(json, r#"{"seed":42}"#);
    }
}
