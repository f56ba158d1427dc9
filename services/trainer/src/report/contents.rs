//! What a report says. As JSON it is the report for programs.

use std::collections::BTreeMap;

use maskline_dataset::{FaceCounts, Manifest, Split};
use maskline_messages::{DatasetId, ImageId, JobId, Label, Method, RunId, TrainingSettings};
use maskline_models::{
    LayerRow, Network,
    calibration::Calibration,
    prediction::{Confusion, Prediction},
    temperature::Temperature,
};
use maskline_storage::records::{Evaluation, Run};
use serde::Serialize;

use super::warnings;
use crate::{
    by_faces::FaceScore,
    examples::{ExampleSet, Examples},
    measurement::{Measurement, SplitMeasurement},
    metrics::{Epoch, TrainingProgress},
    probe::ProbeFacts,
    robustness::Robustness,
    shortcut::Shortcut,
};

/// The version of the report as JSON.
const VERSION: u32 = 1;

/// The number of mistakes in a report, the worst ones.
const MAX_MISTAKES: usize = 24;

/// Everything about a finished run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) version: u32,
    /// The id of the run and of its model.
    pub(crate) run: RunId,
    pub(crate) job: Option<JobId>,
    pub(crate) network: Method,
    /// The number of convolutions and fully connected layers.
    pub(crate) layers: u64,
    /// The number of trainable parameters.
    pub(crate) parameters: u64,
    /// The accuracy of the published network on the validation split, 0 to 1.
    pub(crate) accuracy: f32,
    /// Its mean cross-entropy there, in nats.
    pub(crate) loss: f32,
    /// How good it is on the validation and the test split, and for each source.
    pub(crate) evaluation: Evaluation,
    /// The time that the run took, evaluation and all attempts included.
    pub(crate) seconds: f64,
    /// The training images per second, as the median over the epochs. For a linear probe, the
    /// images divided by the time of the whole run.
    pub(crate) images_per_second: f64,
    /// The devices that it was trained on, in the order of their use.
    pub(crate) devices: Vec<String>,
    pub(crate) dataset: DatasetFacts,
    pub(crate) settings: TrainingSettings,
    /// A linear probe has no epochs.
    pub(crate) epochs: Vec<Epoch>,
    /// How a linear probe was made. `None` for a network whose layers were all trained.
    pub(crate) probe: Option<ProbeFacts>,
    pub(crate) classes: Vec<ClassFacts>,
    /// The validation images of each class (row) by the predicted class (column).
    pub(crate) confusion: Confusion,
    /// The same for the test images, if there are some.
    pub(crate) test_confusion: Option<Confusion>,
    /// The validation images with a wrong prediction and the largest loss, the worst first.
    pub(crate) mistakes: Vec<Mistake>,
    /// What the logits are divided by, and how far the probabilities can be believed.
    pub(crate) calibration: CalibrationFacts,
    /// How good it is on damaged validation images.
    pub(crate) robustness: Vec<Robustness>,
    /// How good it is on the validation images, by the faces in them.
    pub(crate) faces: Vec<FaceScore>,
    /// The same for the test images, if there are some.
    pub(crate) test_faces: Option<Vec<FaceScore>>,
    /// How well the files alone tell the classes. `None` if too little is known of them.
    pub(crate) shortcut: Option<Shortcut>,
    /// What a reader must know before believing the accuracy, in sentences.
    pub(crate) warnings: Vec<String>,
    pub(crate) summary: Vec<LayerRow>,
}

/// What the report says about the dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DatasetFacts {
    pub(crate) id: DatasetId,
    /// The number of images by split and class.
    pub(crate) images: BTreeMap<Split, BTreeMap<Label, u64>>,
    /// The number of images by split and by the faces in them. A dataset of an earlier build does
    /// not tell.
    pub(crate) faces: BTreeMap<Split, FaceCounts>,
    pub(crate) near_duplicate_groups: u64,
    /// Images in no split, because near-duplicates of theirs have another label.
    pub(crate) set_aside: u64,
}

/// What the report says about the probabilities.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CalibrationFacts {
    /// What the network's logits are divided by. It was fitted to the validation images.
    pub(crate) temperature: Temperature,
    pub(crate) validation: BeforeAndAfter,
    /// `None` if there are no test images.
    pub(crate) test: Option<BeforeAndAfter>,
}

/// How far probabilities can be believed without the temperature and with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct BeforeAndAfter {
    pub(crate) before: Calibration,
    pub(crate) after: Calibration,
}

/// How good the published network is on one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ClassFacts {
    pub(crate) label: Label,
    /// See [`Confusion::precision`].
    pub(crate) precision: Option<f64>,
    /// See [`Confusion::recall`].
    pub(crate) recall: Option<f64>,
}

/// A validation image whose class was not predicted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Mistake {
    pub(crate) image: ImageId,
    pub(crate) label: Label,
    pub(crate) predicted: Label,
    /// The probability of `predicted`, 0 to 1.
    pub(crate) confidence: f64,
    /// The cross-entropy, in nats.
    pub(crate) loss: f64,
    /// The index in the validation set.
    #[serde(skip)]
    pub(crate) index: usize,
}

/// How good the published network is.
pub(crate) struct Measured<'a> {
    /// Its predictions for the validation images, in their order, with its temperature.
    pub(crate) predictions: &'a [Prediction],
    pub(crate) temperature: Temperature,
    pub(crate) measurement: &'a Measurement,
    pub(crate) evaluation: Evaluation,
    pub(crate) robustness: Vec<Robustness>,
    pub(crate) shortcut: Option<Shortcut>,
}

impl Report {
    pub(crate) fn new(
        run: &Run,
        progress: &TrainingProgress,
        probe: Option<ProbeFacts>,
        network: &Network,
        examples: &Examples,
        measured: Measured<'_>,
    ) -> Self {
        let Measured {
            predictions,
            temperature,
            measurement,
            evaluation,
            robustness,
            shortcut,
        } = measured;
        let manifest = &examples.manifest;
        let validation = &examples.validation;
        let confusion = measurement.validation.confusion.clone();
        let test = measurement.test.as_ref();
        Self {
            version: VERSION,
            run: run.id,
            job: run.job,
            network: run.network,
            layers: network.layers(),
            parameters: network.parameters(),
            accuracy: evaluation.validation.accuracy,
            loss: evaluation.validation.loss,
            evaluation,
            seconds: progress.seconds,
            images_per_second: match &probe {
                Some(probe) => probe.images as f64 / progress.seconds.max(f64::MIN_POSITIVE),
                None => median(progress.epochs.iter().map(|epoch| epoch.images_per_second)),
            },
            devices: match &probe {
                Some(_) => run.device.iter().cloned().collect(),
                None => devices(&progress.epochs),
            },
            dataset: DatasetFacts::of(manifest),
            settings: run.settings.clone(),
            epochs: progress.epochs.clone(),
            probe,
            classes: class_facts(&manifest.classes, &confusion),
            confusion,
            test_confusion: test.map(|test| test.confusion.clone()),
            mistakes: mistakes(predictions, validation, &manifest.classes),
            calibration: CalibrationFacts {
                temperature,
                validation: BeforeAndAfter::of(&measurement.validation),
                test: test.map(BeforeAndAfter::of),
            },
            robustness,
            faces: measurement.validation.faces(),
            test_faces: test.map(SplitMeasurement::faces),
            warnings: warnings::of(manifest, shortcut.as_ref()),
            shortcut,
            summary: network.summary(),
        }
    }
}

impl BeforeAndAfter {
    fn of(measurement: &SplitMeasurement) -> Self {
        let [before, after] = measurement.calibrations();
        Self { before, after }
    }
}

impl DatasetFacts {
    fn of(manifest: &Manifest) -> Self {
        let splits = manifest.splits.iter();
        let faces = splits.clone();
        Self {
            id: manifest.dataset,
            images: splits
                .map(|(&split, manifest)| (split, manifest.by_class.clone()))
                .collect(),
            faces: faces
                .filter_map(|(&split, manifest)| Some((split, manifest.faces?)))
                .collect(),
            near_duplicate_groups: manifest.near_duplicate_groups,
            set_aside: manifest.set_aside,
        }
    }
}

fn class_facts(labels: &[Label], confusion: &Confusion) -> Vec<ClassFacts> {
    let facts = labels.iter().enumerate().map(|(class, label)| ClassFacts {
        label: label.clone(),
        precision: confusion.precision(class),
        recall: confusion.recall(class),
    });
    facts.collect()
}

/// The images whose class was not predicted, the largest loss first.
fn mistakes(predictions: &[Prediction], set: &ExampleSet, labels: &[Label]) -> Vec<Mistake> {
    let labelled = predictions.iter().zip(set.classes()).enumerate();
    let wrong = labelled.filter(|(_, (prediction, class))| prediction.class() != *class);
    let mut mistakes: Vec<Mistake> = wrong
        .map(|(index, (prediction, class))| Mistake {
            image: set.example(index).image,
            label: labels[class].clone(),
            predicted: labels[prediction.class()].clone(),
            confidence: prediction.confidence(),
            loss: prediction.loss(class),
            index,
        })
        .collect();
    mistakes.sort_by(|one, other| other.loss.total_cmp(&one.loss));
    mistakes.truncate(MAX_MISTAKES);
    mistakes
}

/// Each device once, in the order of its use.
fn devices(epochs: &[Epoch]) -> Vec<String> {
    let mut devices: Vec<String> = vec![];
    for epoch in epochs {
        if !devices.contains(&epoch.device) {
            devices.push(epoch.device.clone());
        }
    }
    devices
}

/// The upper median, or 0 if there are no values.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_speeds_is_no_outlier() {
        assert_eq!(median([1.0, 130.0, 9000.0].into_iter()), 130.0);
        assert_eq!(median([].into_iter()), 0.0);
    }
}
