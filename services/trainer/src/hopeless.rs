//! Why a run can't succeed, however often it is tried.

use maskline_dataset::Split;
use maskline_messages::{DatasetId, Label, TrainingSettings};
use thiserror::Error;

/// A run that ends so has failed for good; the text says what a person can do.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Hopeless {
    #[error(
        "dataset {dataset} is not in the object store ({place} does not exist): is this the \
         store that it was frozen in? `maskline datasets` lists the datasets there are"
    )]
    NoDataset { dataset: DatasetId, place: String },
    #[error(
        "dataset {dataset} can't be read: {problem}. Enqueue its source again to freeze it anew"
    )]
    DamagedDataset { dataset: DatasetId, problem: String },
    #[error(
        "the dataset has images of one class only, {class}: a network needs two classes or more. \
         Enqueue a source with more of them, such as a folder of classes with --label-from folder"
    )]
    OneClass { class: Label },
    #[error(
        "the dataset's {split} split has no images: enqueue a source with more, or with another \
         share for validation"
    )]
    EmptySplit { split: Split },
    #[error(
        "the loss is no number any more in epoch {epoch}, step {step}: train again with a lower \
         learning rate than {learning_rate}, or a longer warm-up"
    )]
    Diverged {
        epoch: usize,
        step: usize,
        learning_rate: f32,
    },
    #[error("{setting} can't be {value}: give {wanted}")]
    Setting {
        setting: &'static str,
        value: String,
        wanted: &'static str,
    },
    #[error(
        "it failed {times} times, the last time so: {error}. Ask for it again with \
         `maskline train` once that is mended"
    )]
    TriedEnough { times: u32, error: String },
    #[error(
        "{times} trainers in a row ended with it and left no word nor checkpoint, as a process \
         does that finds no memory. Ask for it again with `maskline train` and a smaller --batch \
         or --pixels, or give the trainers more memory"
    )]
    EndsTrainers { times: u32 },
}

/// Whether a network can be trained with these settings at all.
pub fn check(settings: &TrainingSettings) -> Result<(), Hopeless> {
    /// Smaller than what the networks halve five times.
    const LEAST_PIXELS: u32 = 32;
    const MOST_PIXELS: u32 = 1024;
    const MOST_BATCH: u32 = 4096;
    const MOST_EPOCHS: u32 = 100_000;
    let number =
        |sane: bool, setting, value: f32, wanted| refuse(sane, setting, value.to_string(), wanted);
    let count =
        |sane: bool, setting, value: u32, wanted| refuse(sane, setting, value.to_string(), wanted);
    let TrainingSettings {
        epochs,
        batch,
        pixels,
        optimizer: _,
        learning_rate,
        weight_decay,
        label_smoothing,
        warmup_epochs,
        seed,
    } = *settings;
    count(
        (1..=MOST_EPOCHS).contains(&epochs),
        "epochs",
        epochs,
        "1 to 100,000",
    )?;
    count(
        (1..=MOST_BATCH).contains(&batch),
        "batch",
        batch,
        "1 to 4096 images",
    )?;
    count(
        (LEAST_PIXELS..=MOST_PIXELS).contains(&pixels),
        "pixels",
        pixels,
        "32 to 1024",
    )?;
    let rate_is_one = learning_rate.is_finite() && learning_rate > 0.0;
    number(
        rate_is_one,
        "the learning rate",
        learning_rate,
        "a number above 0",
    )?;
    let decay_is_one = weight_decay.is_finite() && weight_decay >= 0.0;
    number(
        decay_is_one,
        "the weight decay",
        weight_decay,
        "a number from 0 on",
    )?;
    let is_share = (0.0..1.0).contains(&label_smoothing);
    number(
        is_share,
        "the label smoothing",
        label_smoothing,
        "from 0 to below 1",
    )?;
    let is_time = warmup_epochs.is_finite() && warmup_epochs >= 0.0;
    number(
        is_time,
        "the warm-up",
        warmup_epochs,
        "a number of epochs from 0 on",
    )?;
    let can_be_recorded = i64::try_from(seed).is_ok();
    refuse(
        can_be_recorded,
        "the seed",
        seed.to_string(),
        "0 to 9223372036854775807, as MongoDB counts",
    )
}

fn refuse(
    sane: bool,
    setting: &'static str,
    value: String,
    wanted: &'static str,
) -> Result<(), Hopeless> {
    if sane {
        return Ok(());
    }
    Err(Hopeless::Setting {
        setting,
        value,
        wanted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_settings_can_be_trained_with() {
        check(&TrainingSettings::default()).unwrap();
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named_with_what_is_wanted() {
        let default = TrainingSettings::default;
        let cases = [
            (
                TrainingSettings {
                    epochs: 0,
                    ..default()
                },
                "epochs can't be 0",
            ),
            (
                TrainingSettings {
                    batch: 0,
                    ..default()
                },
                "batch can't be 0",
            ),
            (
                TrainingSettings {
                    pixels: 31,
                    ..default()
                },
                "32 to 1024",
            ),
            (
                TrainingSettings {
                    learning_rate: f32::NAN,
                    ..default()
                },
                "learning rate can't be NaN",
            ),
            (
                TrainingSettings {
                    learning_rate: 0.0,
                    ..default()
                },
                "above 0",
            ),
            (
                TrainingSettings {
                    weight_decay: -0.1,
                    ..default()
                },
                "weight decay can't be -0.1",
            ),
            (
                TrainingSettings {
                    label_smoothing: 1.0,
                    ..default()
                },
                "below 1",
            ),
            (
                TrainingSettings {
                    warmup_epochs: f32::INFINITY,
                    ..default()
                },
                "warm-up can't be inf",
            ),
            (
                TrainingSettings {
                    seed: 1 << 63,
                    ..default()
                },
                "the seed can't be 9223372036854775808: give 0 to",
            ),
        ];
        for (settings, expected) in cases {
            let refused = check(&settings).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
