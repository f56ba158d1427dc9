//! What a run came to: [`Report`] for programs, and a [`page`] for people.

mod curves;
mod page;
mod thumbnails;

use std::collections::BTreeMap;

use maskline_dataset::{Manifest, Split};
use maskline_messages::{DatasetId, ImageId, JobId, Label, NetworkName, RunId, TrainingSettings};
use maskline_models::{
    LayerRow, Network,
    prediction::{Confusion, Prediction},
};
use maskline_storage::records::Run;
use serde::Serialize;

use crate::{
    evaluation,
    examples::{ExampleSet, Examples},
    session::{Epoch, Progress},
};

pub use page::page;
pub use thumbnails::{Thumbnail, thumbnails};

/// The version of the report as JSON.
const VERSION: u32 = 1;

/// So many of the worst mistakes are shown.
const MOST_MISTAKES: usize = 24;

/// Everything about a finished run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub version: u32,
    /// The run, and the model's id.
    pub run: RunId,
    pub job: Option<JobId>,
    pub network: NetworkName,
    /// Convolutions and fully connected layers.
    pub layers: u64,
    /// Trainable ones.
    pub parameters: u64,
    /// Of the published network on the validation split, 0 to 1.
    pub accuracy: f32,
    /// Mean cross-entropy of the same, in nats.
    pub loss: f32,
    /// The epoch that is published, counted from 1.
    pub best_epoch: usize,
    /// Of training, all attempts, measuring included.
    pub seconds: f64,
    /// Learned from in a second, in the middle epoch by speed.
    pub images_per_second: f64,
    /// Where it was trained; more than one if it moved.
    pub devices: Vec<String>,
    pub dataset: DatasetFacts,
    pub settings: TrainingSettings,
    pub epochs: Vec<Epoch>,
    pub classes: Vec<ClassFacts>,
    /// Validation images of each class (row) by what they were taken for (column).
    pub confusion: Confusion,
    /// Validation images that it is most wrong about, the worst first.
    pub mistakes: Vec<Mistake>,
    pub summary: Vec<LayerRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetFacts {
    pub id: DatasetId,
    /// By split (`train`, `validation`) and class.
    pub images: BTreeMap<Split, BTreeMap<Label, u64>>,
    pub near_duplicate_groups: u64,
    /// Images in no split because their near-duplicates have other labels.
    pub set_aside: u64,
}

/// How the published network does on one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFacts {
    pub label: Label,
    /// Of those said to be of the class, the share that is; none was: `None`.
    pub precision: Option<f64>,
    /// Of those of the class, the share that is said to be; none is: `None`.
    pub recall: Option<f64>,
}

/// A validation image that was taken for another class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mistake {
    pub image: ImageId,
    pub label: Label,
    pub predicted: Label,
    /// Softmax probability of `predicted`, 0 to 1.
    pub confidence: f64,
    /// Cross-entropy, in nats.
    pub loss: f64,
    /// In the validation split.
    #[serde(skip)]
    index: usize,
}

impl Report {
    /// `predictions` are the published network's on the validation split, in
    /// its order.
    pub fn new(
        run: &Run,
        progress: &Progress,
        network: &Network,
        examples: &Examples,
        predictions: &[Prediction],
    ) -> Self {
        let manifest = &examples.manifest;
        let validation = &examples.validation;
        let score = evaluation::tally(predictions, validation).score();
        let mut confusion = Confusion::new(manifest.classes.len());
        for (prediction, class) in predictions.iter().zip(validation.classes()) {
            confusion.add(prediction, class);
        }
        Self {
            version: VERSION,
            run: run.id,
            job: run.job,
            network: run.network,
            layers: network.layers(),
            parameters: network.parameters(),
            accuracy: score.accuracy,
            loss: score.loss,
            best_epoch: progress.best().map_or(0, |epoch| epoch.epoch),
            seconds: progress.seconds,
            images_per_second: median(progress.epochs.iter().map(|epoch| epoch.images_per_second)),
            devices: devices(&progress.epochs),
            dataset: DatasetFacts::of(manifest),
            settings: run.settings.clone(),
            epochs: progress.epochs.clone(),
            classes: class_facts(&manifest.classes, &confusion),
            confusion,
            mistakes: mistakes(predictions, validation, &manifest.classes),
            summary: network.summary(),
        }
    }
}

impl DatasetFacts {
    fn of(manifest: &Manifest) -> Self {
        let splits = manifest.splits.iter();
        Self {
            id: manifest.dataset,
            images: splits
                .map(|(&split, manifest)| (split, manifest.by_class.clone()))
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
    mistakes.truncate(MOST_MISTAKES);
    mistakes
}

/// Each device once, in the order of their use.
fn devices(epochs: &[Epoch]) -> Vec<String> {
    let mut devices: Vec<String> = vec![];
    for epoch in epochs {
        if !devices.contains(&epoch.device) {
            devices.push(epoch.device.clone());
        }
    }
    devices
}

/// The upper median; of nothing, 0.
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
