//! The settings that tuning varies, and the ranges that it draws them from.
//!
//! A range lies around the usual value, see [`TrainingChoices`], and as that it depends on what the
//! network begins from: other weights want smaller steps than random ones.

use crate::{
    choices::TrainingChoices,
    network::NetworkName,
    settings::{Optimizer, TrainingSettings},
    start::Start,
};

/// A setting that tuning varies.
pub struct Tunable {
    /// The name that it has in JSON. The flag's name has hyphens in place of the underscores.
    pub name: &'static str,
    is_chosen: fn(&TrainingChoices) -> bool,
    value: fn(&TrainingSettings) -> Option<f32>,
    set: fn(&mut TrainingSettings, f32),
    range: fn(NetworkName, &TrainingSettings) -> Option<Range>,
}

/// The values that a setting may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// All numbers between two are equally likely.
    Linear { from: f32, to: f32 },
    /// All orders of magnitude between two numbers are equally likely.
    Logarithmic { from: f32, to: f32 },
    /// Half of the trials have 0. The others have a number up to this one.
    OftenZero { to: f32 },
    /// The whole numbers from 0 to this one, which is one of them.
    Count { to: u32 },
    /// One of a few.
    OneOf(&'static [f32]),
}

/// Every setting that tuning varies. Those that are not here, such as the size of the input, change
/// what the network can see or how long the training takes, and so they are a person's to choose.
pub const TUNABLES: [Tunable; 11] = [
    Tunable {
        name: "learning_rate",
        is_chosen: |choices| choices.learning_rate.is_some(),
        value: |settings| Some(settings.learning_rate),
        set: |settings, value| settings.learning_rate = value,
        range: |_, settings| {
            Some(match (settings.optimizer, settings.start) {
                (Optimizer::Adamw, Start::Scratch) => logarithmic(5e-4, 1e-2),
                (Optimizer::Adamw, _) => logarithmic(3e-4, 6e-3),
                // SGD does not divide a gradient by its size, and so it takes larger rates.
                (Optimizer::Sgd, Start::Scratch) => logarithmic(1e-2, 5e-1),
                (Optimizer::Sgd, _) => logarithmic(2e-3, 1e-1),
            })
        },
    },
    Tunable {
        name: "weight_decay",
        is_chosen: |choices| choices.weight_decay.is_some(),
        value: |settings| Some(settings.weight_decay),
        set: |settings, value| settings.weight_decay = value,
        range: |_, settings| {
            Some(match (settings.optimizer, settings.start) {
                (Optimizer::Adamw, Start::Scratch) => logarithmic(1e-3, 1e-1),
                (Optimizer::Adamw, _) => logarithmic(2e-3, 2e-1),
                // For SGD it is a part of the gradient.
                (Optimizer::Sgd, _) => logarithmic(1e-5, 1e-3),
            })
        },
    },
    Tunable {
        name: "batch",
        is_chosen: |choices| choices.batch.is_some(),
        value: |settings| Some(settings.batch as f32),
        set: |settings, value| settings.batch = value as u32,
        range: |_, _| Some(Range::OneOf(&[32.0, 64.0, 128.0])),
    },
    Tunable {
        name: "label_smoothing",
        is_chosen: |choices| choices.label_smoothing.is_some(),
        value: |settings| Some(settings.label_smoothing),
        set: |settings, value| settings.label_smoothing = value,
        range: |_, _| Some(Range::Linear { from: 0.0, to: 0.2 }),
    },
    Tunable {
        name: "warmup_epochs",
        is_chosen: |choices| choices.warmup_epochs.is_some(),
        value: |settings| Some(settings.warmup_epochs),
        set: |settings, value| settings.warmup_epochs = value,
        range: |_, settings| {
            let to = 0.2 * settings.epochs as f32;
            Some(Range::Linear { from: 0.0, to })
        },
    },
    Tunable {
        name: "ema",
        is_chosen: |choices| choices.ema.is_some(),
        value: |settings| Some(settings.ema),
        set: |settings, value| settings.ema = value,
        range: |_, _| Some(Range::OneOf(&[0.0, 0.99, 0.998])),
    },
    Tunable {
        name: "mixup",
        is_chosen: |choices| choices.mixup.is_some(),
        value: |settings| Some(settings.mixup),
        set: |settings, value| settings.mixup = value,
        range: |_, settings| mixed_beside(settings.cutmix, settings),
    },
    // It comes after mixup, whose share is drawn then.
    Tunable {
        name: "cutmix",
        is_chosen: |choices| choices.cutmix.is_some(),
        value: |settings| Some(settings.cutmix),
        set: |settings, value| settings.cutmix = value,
        range: |_, settings| mixed_beside(settings.mixup, settings),
    },
    Tunable {
        name: "stochastic_depth",
        is_chosen: |choices| choices.stochastic_depth.is_some(),
        value: |settings| settings.stochastic_depth,
        set: |settings, value| settings.stochastic_depth = Some(value),
        range: |network, settings| {
            let has_it = match network {
                NetworkName::EfficientnetB0 | NetworkName::EfficientnetLite0 => true,
                NetworkName::MobilenetV2
                | NetworkName::MobilenetV3Small
                | NetworkName::Mnasnet1_0 => settings.stochastic_depth.is_some(),
            };
            has_it.then_some(Range::Linear { from: 0.0, to: 0.3 })
        },
    },
    Tunable {
        name: "backbone_rate",
        is_chosen: |choices| choices.backbone_rate.is_some(),
        value: |settings| Some(settings.backbone_rate),
        set: |settings, value| settings.backbone_rate = value,
        range: |_, settings| of_other_weights(settings, logarithmic(0.05, 1.0)),
    },
    Tunable {
        name: "frozen_blocks",
        is_chosen: |choices| choices.frozen_blocks.is_some(),
        value: |settings| Some(settings.frozen_blocks as f32),
        set: |settings, value| settings.frozen_blocks = value as u32,
        range: |_, settings| of_other_weights(settings, Range::Count { to: 6 }),
    },
];

const fn logarithmic(from: f32, to: f32) -> Range {
    Range::Logarithmic { from, to }
}

/// The share of the steps in which images are mixed in one way, beside the share of the other way.
fn mixed_beside(other: f32, settings: &TrainingSettings) -> Option<Range> {
    // A little less than what is left, because a share that is rounded may be larger than it was.
    let left = (1.0 - other) * 0.99;
    let range = Range::OftenZero { to: left.min(0.5) };
    // One image has no other in its step.
    (settings.batch > 1).then_some(range)
}

/// A range of what only layers have that have learnt before.
fn of_other_weights(settings: &TrainingSettings, range: Range) -> Option<Range> {
    (settings.start != Start::Scratch).then_some(range)
}

impl Tunable {
    /// The value in these settings. `None` is the network's own.
    pub fn value(&self, settings: &TrainingSettings) -> Option<f32> {
        (self.value)(settings)
    }

    /// The value in these settings, as text.
    pub fn text(&self, settings: &TrainingSettings) -> String {
        let value = self.value(settings);
        value.map_or_else(|| "usual".to_owned(), |value| value.to_string())
    }

    /// The name as people write it.
    pub fn title(&self) -> String {
        self.name.replace('_', " ")
    }

    /// The range that the setting is drawn from. `None` if it says nothing about such a run.
    pub fn range(&self, network: NetworkName, settings: &TrainingSettings) -> Option<Range> {
        (self.range)(network, settings)
    }
}

/// The settings that are not the same in all trials.
pub fn varied(trials: &[TrainingSettings]) -> Vec<&'static Tunable> {
    let varies = |tunable: &&Tunable| {
        let mut values = trials.iter().map(|settings| tunable.value(settings));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    TUNABLES.iter().filter(varies).collect()
}

/// The settings of a trial: those that somebody chose, and for each of the others a value of its
/// range. `random` returns numbers from 0 to below 1.
pub fn drawn(
    choices: &TrainingChoices,
    network: NetworkName,
    mut random: impl FnMut() -> f64,
) -> TrainingSettings {
    let mut settings = choices.settings(network.into());
    for tunable in &TUNABLES {
        // One number for each, drawn from or not, so that whoever chooses one setting gets the
        // others as they were.
        let place = random();
        if (tunable.is_chosen)(choices) {
            continue;
        }
        if let Some(range) = tunable.range(network, &settings) {
            (tunable.set)(&mut settings, range.at(place));
        }
    }
    settings
}

impl Range {
    /// The value at a place of the range, 0 to below 1.
    fn at(self, place: f64) -> f32 {
        match self {
            Self::Linear { from, to } => {
                rounded(f64::from(from) + place * f64::from(to - from)).clamp(from, to)
            }
            Self::Logarithmic { from, to } => {
                let (low, high) = (f64::from(from).ln(), f64::from(to).ln());
                rounded((low + place * (high - low)).exp()).clamp(from, to)
            }
            Self::OftenZero { .. } if place < 0.5 => 0.0,
            Self::OftenZero { to } => rounded((2.0 * place - 1.0) * f64::from(to)),
            Self::Count { to } => (place * f64::from(to + 1)).floor().min(f64::from(to)) as f32,
            Self::OneOf(values) => {
                let index = (place * values.len() as f64) as usize;
                values[index.min(values.len() - 1)]
            }
        }
    }
}

/// The number with three significant digits, so that a person can repeat a trial by hand.
fn rounded(value: f64) -> f32 {
    format!("{value:.2e}").parse().expect("it is a number")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::WeightsId;

    const SMALL: NetworkName = NetworkName::MobilenetV3Small;

    /// The settings that vary among many trials.
    fn names(choices: &TrainingChoices, network: NetworkName) -> Vec<&'static str> {
        let mut place = 0.0;
        let mut random = || {
            place = (place + 0.618_033_988_749_895) % 1.0;
            place
        };
        let trials: Vec<_> = (0..20)
            .map(|_| drawn(choices, network, &mut random))
            .collect();
        varied(&trials).iter().map(|tunable| tunable.name).collect()
    }

    #[test]
    fn a_network_from_scratch_and_one_from_weights_vary_what_matters_to_each() {
        let none = TrainingChoices::default();
        let always = [
            "learning_rate",
            "weight_decay",
            "batch",
            "label_smoothing",
            "warmup_epochs",
            "ema",
            "mixup",
            "cutmix",
        ];
        assert_eq!(names(&none, SMALL), always);
        let single = TrainingChoices {
            batch: Some(1),
            ..none.clone()
        };
        let unmixed = ["batch", "mixup", "cutmix"];
        let rest = always.into_iter().filter(|name| !unmixed.contains(name));
        assert_eq!(names(&single, SMALL), rest.collect::<Vec<_>>());
        let depth = [&always[..], &["stochastic_depth"]].concat();
        assert_eq!(names(&none, NetworkName::EfficientnetB0), depth);
        let all: Vec<_> = TUNABLES.iter().map(|tunable| tunable.name).collect();
        assert_eq!(names(&none, NetworkName::EfficientnetLite0), all);
        let stored = TrainingChoices {
            start: Some(Start::Stored(WeightsId::of(b"weights"))),
            ..none
        };
        assert_eq!(names(&stored, SMALL), all);
    }

    #[test]
    fn a_setting_that_somebody_chose_stays_and_changes_no_other() {
        let places = || (1..).map(|place| f64::from(place) / 16.0);
        let of = |choices: &TrainingChoices| {
            let mut places = places();
            drawn(choices, SMALL, || places.next().expect("there are many"))
        };
        let free = of(&TrainingChoices::default());
        let chosen = TrainingChoices {
            weight_decay: Some(0.5),
            batch: Some(8),
            ..TrainingChoices::default()
        };
        let expected = TrainingSettings {
            weight_decay: 0.5,
            batch: 8,
            ..free
        };
        assert_eq!(of(&chosen), expected);
    }

    #[test]
    fn a_range_reaches_from_one_end_to_the_other() {
        let last = 1.0 - f64::EPSILON;
        let cases = [
            (logarithmic(1e-3, 1e-1), 1e-3, 1e-2, 1e-1),
            (Range::Linear { from: 0.0, to: 0.2 }, 0.0, 0.1, 0.2),
            (Range::OftenZero { to: 0.5 }, 0.0, 0.0, 0.5),
            (Range::Count { to: 6 }, 0.0, 3.0, 6.0),
            (Range::OneOf(&[32.0, 64.0, 128.0]), 32.0, 64.0, 128.0),
        ];
        for (range, first, middle, end) in cases {
            let values = [0.0, 0.5, last].map(|place| range.at(place));
            assert_eq!(values, [first, middle, end], "{range:?}");
        }
        assert_eq!(logarithmic(1e-3, 1e-1).at(0.123_4), 1.77e-3);
    }

    #[test]
    fn every_name_is_one_of_the_settings() {
        let settings = TrainingSettings {
            stochastic_depth: Some(0.1),
            ..TrainingSettings::default()
        };
        let json = serde_json::to_value(&settings).unwrap();
        for tunable in &TUNABLES {
            let value = json[tunable.name].as_f64().map(|value| value as f32);
            assert_eq!(value, tunable.value(&settings), "{}", tunable.name);
        }
        let usual = TrainingSettings::default();
        let depth = TUNABLES.iter().find(|of| of.name == "stochastic_depth");
        assert_eq!(depth.unwrap().text(&usual), "usual");
        assert_eq!(TUNABLES[0].title(), "learning rate");
    }

    proptest! {
        #[test]
        fn every_trial_can_be_trained(
            places in proptest::collection::vec(0.0..1.0f64, TUNABLES.len()),
            network in 0..NetworkName::ALL.len(),
            start in proptest::option::of(0..3u8),
            mixup in proptest::option::of(0.0..=1.0f32),
            epochs in proptest::option::of(1..1000u32),
            batch in proptest::option::of(1..4u32),
        ) {
            let choices = TrainingChoices {
                start: start.map(|start| match start {
                    0 => Start::Scratch,
                    1 => Start::Pretrained,
                    _ => Start::Stored(WeightsId::of(b"weights")),
                }),
                mixup: mixup.filter(|_| batch != Some(1)),
                epochs,
                batch,
                ..TrainingChoices::default()
            };
            let network = NetworkName::ALL[network];
            let mut places = places.into_iter();
            let settings = drawn(&choices, network, || places.next().expect("one for each"));
            prop_assert_eq!(settings.validate(), Ok(()));
            let mixed = settings.mixup + settings.cutmix;
            prop_assert!(settings.batch > 1 || mixed == 0.0, "{settings:?}");
        }
    }
}
