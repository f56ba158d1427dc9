//! Errors that no retry of a run can help.

use maskline_dataset::Split;
use maskline_messages::{DatasetId, InvalidSetting, Label, NetworkName, WeightsId};
use thiserror::Error;

/// Why a run has failed for good. The text says what a person can do about it.
#[derive(Debug, Clone, PartialEq, Error)]
pub(crate) enum PermanentError {
    #[error(
        "dataset {dataset} is not in the object store ({location} does not exist): is this the \
         store that it was frozen in? `maskline datasets` lists the datasets there are"
    )]
    NoDataset {
        dataset: DatasetId,
        location: String,
    },
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
        "the dataset's {split} split has no images: enqueue more images into its collection, or \
         begin another collection with another --validation"
    )]
    EmptySplit { split: Split },
    #[error(
        "the dataset has only test images: whatever other sources have is in a source with \
         `--role test`, too. Enqueue other images into its collection without `--role test`"
    )]
    OnlyTestImages,
    #[error(
        "the loss is not a number any more in epoch {epoch}, step {step}: train again with a lower \
         learning rate than {learning_rate}, or a longer warm-up"
    )]
    Diverged {
        epoch: usize,
        step: usize,
        learning_rate: f32,
    },
    #[error(
        "the device has no memory for a single image at a time: {error}. Train with smaller \
         --pixels, or compute on the CPU, with --device cpu"
    )]
    DeviceMemory { error: String },
    #[error(
        "the run can't begin from these weights: {0}. Ask for another run with `maskline train --from`"
    )]
    Weights(String),
    #[error("{0}: train again with fewer --frozen-blocks")]
    FrozenBlocks(String),
    #[error(
        "maskline comes with no pretrained weights of {network}: store some with `maskline train \
         --from FILE`"
    )]
    NoPretrained { network: NetworkName },
    #[error(
        "the weights {weights} are not in the object store ({location} does not exist): ask for the \
         run again with `maskline train --from`, which stores them"
    )]
    NoWeights {
        weights: WeightsId,
        location: String,
    },
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error(
        "it failed {times} times, the last time with: {error}. Ask for it again, as it was asked for \
         before, once the cause is removed"
    )]
    TooManyFailures { times: u32, error: String },
    #[error(
        "{times} trainers in a row ended during the run and left neither an error nor a \
         checkpoint, as a process does that finds no memory. Ask for it again with a smaller --batch \
         or --pixels, or give the trainers more memory"
    )]
    EndsTrainers { times: u32 },
    #[error(
        "{device} was lost {times} times in a row without a checkpoint in between, the last time \
         with: {error}. A driver that runs out of memory may do that: ask for the run again with a \
         smaller --batch or --pixels, or start a trainer with `--device cpu`"
    )]
    LosesDevice {
        times: u32,
        device: String,
        error: String,
    },
}

impl PermanentError {
    /// Whether the same run may succeed when it is asked for again, because its cause is outside of
    /// the run. It goes on from its checkpoint then.
    pub(crate) fn cause_can_be_removed(&self) -> bool {
        matches!(
            self,
            Self::TooManyFailures { .. }
                | Self::EndsTrainers { .. }
                | Self::LosesDevice { .. }
                | Self::DeviceMemory { .. }
        )
    }
}
