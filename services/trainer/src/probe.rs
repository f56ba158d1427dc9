//! The linear probe: a logistic regression on what a pretrained network sees in the images.
//!
//! The pretrained layers stay as they are, so that each image is computed once, and not in every
//! epoch. What is learned are the weights of the last layer. The result is a network like any
//! other.
//!
//! * `features`: what the network sees in each image, kept beside the dataset.
//! * `out_of_fold`: the predictions of the cross-validation, kept beside the model.

mod features;
mod out_of_fold;

use anyhow::{Context, Result};
use bytes::Bytes;
use maskline_dataset::Manifest;
use maskline_messages::{DatasetId, Method, TrainingSettings};
use maskline_models::weights::{self, Card};
use maskline_pretrained::backbone;
use maskline_storage::{ObjectStore, catalog::Library, lease::LeaseProgress};
use serde::Serialize;
use std::sync::Arc;
use tokio::runtime::Handle;

use crate::{evaluation::Evaluator, interrupt::Interrupt, regression, shortcut::Files};
use features::{FeatureSet, FeatureStore, Features};

pub(crate) use out_of_fold::csv;

/// The number of images that are computed at a time.
const BATCH: usize = 32;

/// A finished probe.
pub(crate) struct Probe {
    /// The network with the probe as its last layer, a safetensors file.
    pub(crate) weights: Bytes,
    /// The predictions of the cross-validation, a CSV file.
    pub(crate) out_of_fold: Bytes,
    pub(crate) facts: ProbeFacts,
    /// The files of the training images.
    pub(crate) files: Files,
}

/// What the report says of a probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ProbeFacts {
    /// The SHA-256 of the pretrained layers.
    pub(crate) backbone: String,
    /// The number of features of an image.
    pub(crate) features: usize,
    /// The training images, all or the random ones that fit into the memory for images.
    pub(crate) images: usize,
    /// Those of them that were computed now. The others were kept from earlier.
    pub(crate) computed: usize,
    /// The strength of the L2 regularization, for the mean loss.
    pub(crate) strength: f64,
    /// Whether it is at the border of those that were tried.
    pub(crate) at_border: bool,
    /// The folds of the cross-validation. 0 if there are too few groups of images for one.
    pub(crate) folds: usize,
    /// The accuracy on the training images, each predicted by a probe that has not seen its
    /// group. `None` without a cross-validation.
    pub(crate) accuracy: Option<f64>,
    /// Their mean cross-entropy, in nats.
    pub(crate) loss: Option<f64>,
}

/// What a probe is made of.
pub(crate) struct ProbeRun<'a> {
    pub(crate) objects: &'a Arc<dyn ObjectStore>,
    pub(crate) library: &'a dyn Library,
    pub(crate) dataset: DatasetId,
    pub(crate) manifest: &'a Manifest,
    pub(crate) settings: &'a TrainingSettings,
    pub(crate) evaluator: &'a Evaluator<'a>,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) lease_progress: &'a LeaseProgress,
    /// The memory that features may take, in bytes.
    pub(crate) memory: u64,
    pub(crate) runtime: &'a Handle,
}

impl ProbeRun<'_> {
    /// Makes the probe. Blocks the thread. Returns `None` if an interrupt is requested meanwhile;
    /// the features that were computed until then are kept.
    pub(crate) fn execute(&self) -> Result<Option<Probe>> {
        let network = Method::LinearProbe.network();
        let pretrained = backbone(network).context("the network of the probe is pretrained")?;
        let (classes, device) = (&self.manifest.classes, self.evaluator.device);
        let seed = self.settings.seed;
        let network_of =
            weights::backbone(pretrained.safetensors, network, classes.len(), seed, device)?;
        let store = FeatureStore {
            objects: self.objects,
            library: self.library,
            dataset: self.dataset,
            manifest: self.manifest,
            set: FeatureSet::new(&pretrained, self.evaluator.input),
            network: &network_of,
            evaluator: self.evaluator,
            lease_progress: self.lease_progress,
            memory: self.memory,
            runtime: self.runtime,
        };
        let Some(features) = store.training()? else {
            return Ok(None);
        };
        let Features {
            mut rows,
            images,
            groups,
            computed,
            files,
        } = features;
        let scale = rows.standardize();
        let groups: Vec<_> = groups.iter().map(|group| *group.as_bytes()).collect();
        let is_stopped = || self.interrupt.is_requested();
        let Some(chosen) = regression::choose(&rows, &groups, &is_stopped) else {
            return Ok(None);
        };
        let (weight, bias) = chosen.coefficients.for_raw_features(&scale);
        let facts = ProbeFacts {
            backbone: pretrained.sha256.to_owned(),
            features: rows.features(),
            images: images.len(),
            computed,
            strength: chosen.strength,
            at_border: chosen.at_border,
            folds: chosen.folds,
            accuracy: chosen.score.map(|score| score.0),
            loss: chosen.score.map(|score| score.1),
        };
        let card = Card::new(
            network,
            classes.clone(),
            self.settings.pixels,
            self.settings.view,
        );
        let network = network_of.with_classifier(weight, bias)?;
        Ok(Some(Probe {
            weights: weights::to_safetensors(&network, &card)?.into(),
            out_of_fold: csv(classes, &images, rows.classes(), &chosen.out_of_fold)?,
            facts,
            files,
        }))
    }
}
