//! One training run, from its dataset to a trained model.

use std::sync::Arc;

use anyhow::{Context, Result};
use maskline_dataset::Split;
use maskline_foundation::telemetry_names::{
    attribute::{
        EPOCH, IMAGES_PER_SECOND, LEARNING_RATE, TRAINING_LOSS, VALIDATION_ACCURACY,
        VALIDATION_LOSS,
    },
    span,
};
use maskline_models::{device::Compute, weights};
use maskline_storage::{
    ObjectStore,
    catalog::{Jobs, Library},
    lease::LeaseProgress,
    records::{Model, Run, now},
};
use tokio::runtime::Handle;
use tracing::{Instrument, Span, field::Empty, info_span};

use crate::{
    checkpoint,
    evaluation::Evaluator,
    examples::Examples,
    interrupt::Interrupt,
    learner::{Advance, Learner, LearnerConfig},
    manifest,
    measurement::{Measurement, SplitMeasurement, StoredDataset},
    metrics::Epoch,
    permanent_error::PermanentError,
    publish::TrainedModel,
    report::{self, Measured, Report},
    robustness,
};

/// A run and what it needs.
pub(crate) struct TrainingRun {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) library: Arc<dyn Library>,
    /// It knows the sources of the images.
    pub(crate) jobs: Arc<dyn Jobs>,
    pub(crate) record: Run,
    pub(crate) compute: Compute,
    /// The memory that decoded images may take, in bytes.
    pub(crate) image_memory: u64,
    pub(crate) interrupt: Interrupt,
    /// Notified of every checkpoint.
    pub(crate) lease_progress: LeaseProgress,
}

impl TrainingRun {
    /// Trains to the end, from the run's latest checkpoint if it has one. Blocks the thread;
    /// `runtime` is for the I/O. Returns `None` if the service is asked to stop, after a
    /// checkpoint is saved.
    ///
    /// # Errors
    /// [`PermanentError`] if no retry can help.
    pub(crate) fn execute(mut self, runtime: &Handle) -> Result<Option<TrainedModel>> {
        let settings = &self.record.settings;
        settings.validate().map_err(PermanentError::from)?;
        let examples = runtime.block_on(self.load_examples())?;
        self.record.device = Some(self.compute.name.clone());
        let mut learner = runtime.block_on(self.resume(&examples))?;
        while !learner.is_done() {
            let span = info_span!(
                span::EPOCH,
                // A signed number, because an unsigned one would be exported as text.
                { EPOCH } = learner.progress().epochs.len() as i64 + 1,
                { LEARNING_RATE } = Empty,
                { TRAINING_LOSS } = Empty,
                { VALIDATION_LOSS } = Empty,
                { VALIDATION_ACCURACY } = Empty,
                { IMAGES_PER_SECOND } = Empty,
            );
            let advance = span.in_scope(|| learner.advance(&examples, &self.interrupt))?;
            self.interrupt.check_lease(self.record.id)?;
            let epoch = learner.progress().epochs.last();
            if let (Advance::EpochDone, Some(epoch)) = (advance, epoch) {
                span.in_scope(|| self.record_epoch(epoch));
            }
            runtime.block_on(self.save_checkpoint(&learner).instrument(span))?;
            if advance == Advance::Interrupted {
                return Ok(None);
            }
        }
        self.trained_model(&learner, &examples, runtime)
    }

    async fn load_examples(&self) -> Result<Examples> {
        let objects = &self.objects;
        let manifest = manifest::read_trainable(objects, &self.record.dataset).await?;
        let pixels = self.record.settings.pixels;
        Examples::load(objects, manifest, pixels, self.image_memory).await
    }

    /// A learner that continues from the latest checkpoint, or a new one if there is no
    /// usable checkpoint.
    async fn resume(&self, examples: &Examples) -> Result<Learner> {
        self.library.update_run(&self.record).await?;
        let (run, network) = (self.record.id, self.record.network);
        let (images, device) = (examples.training.len(), &self.compute.name);
        let config = LearnerConfig {
            network,
            settings: self.record.settings.clone(),
            classes: examples.manifest.classes.clone(),
            device: self.compute.device.clone(),
            device_name: device.clone(),
        };
        if let Some(snapshot) = checkpoint::load(&self.objects, run).await? {
            let (epochs, step) = (snapshot.progress.epochs.len(), snapshot.progress.step);
            match Learner::resume(config.clone(), snapshot) {
                Ok(learner) => {
                    tracing::info!(%run, %network, images, device, epochs, step, "resuming from a checkpoint");
                    return Ok(learner);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(%run, error, "the checkpoint can't be used: training from the beginning");
                }
            }
        }
        tracing::info!(%run, %network, images, device, "training");
        Ok(Learner::new(config))
    }

    /// Writes a complete epoch to the log and to its span, which is the current one.
    fn record_epoch(&self, epoch: &Epoch) {
        let span = Span::current();
        span.record(LEARNING_RATE, epoch.learning_rate);
        let (training_loss, validation_loss) = (epoch.training.loss, epoch.validation.loss);
        let validation_accuracy = epoch.validation.accuracy;
        span.record(TRAINING_LOSS, training_loss);
        span.record(VALIDATION_LOSS, validation_loss);
        span.record(VALIDATION_ACCURACY, validation_accuracy);
        span.record(IMAGES_PER_SECOND, epoch.images_per_second);
        tracing::info!(
            run = %self.record.id,
            network = %self.record.network,
            epoch = epoch.epoch,
            of = self.record.settings.epochs,
            training_loss = %format_args!("{training_loss:.4}"),
            validation_loss = %format_args!("{validation_loss:.4}"),
            validation_accuracy = %format_args!("{validation_accuracy:.4}"),
            images_per_second = epoch.images_per_second.round(),
            "an epoch is done"
        );
    }

    /// Saves a checkpoint and then updates the run's record, so that the record is never
    /// ahead of the checkpoint.
    async fn save_checkpoint(&mut self, learner: &Learner) -> Result<()> {
        let snapshot = learner.snapshot()?;
        checkpoint::save(&self.objects, self.record.id, &snapshot).await?;
        self.lease_progress.made();
        let best = snapshot.progress.best().map(|epoch| epoch.validation);
        self.record.epoch = u32::try_from(snapshot.progress.epochs.len())?;
        self.record.accuracy = best.map(|score| score.accuracy);
        self.record.loss = best.map(|score| score.loss);
        self.library.update_run(&self.record).await?;
        Ok(())
    }

    /// Measures the best network, read back from its file as it will be published, and writes
    /// the report. The test images are read here for the first time. Returns `None` if an
    /// interrupt is requested meanwhile.
    fn trained_model(
        &self,
        learner: &Learner,
        examples: &Examples,
        runtime: &Handle,
    ) -> Result<Option<TrainedModel>> {
        let weights = learner.best_network().context("no epoch was the best")?;
        let device = &self.compute.device;
        let (network, card) = weights::from_safetensors(weights, device)?;
        let evaluator = Evaluator {
            threads: &examples.threads,
            side: card.pixels,
            batch: self.record.settings.batch as usize,
            device,
            interrupt: &self.interrupt,
        };
        let Some(predictions) = evaluator.predict(&network, &examples.validation)? else {
            return Ok(None);
        };
        let mut validation = SplitMeasurement::new(card.classes.len());
        validation.add(&predictions, &examples.validation);
        let robustness = robustness::measure(&network, &evaluator, &examples.validation)?;
        let Some(robustness) = robustness else {
            return Ok(None);
        };
        let dataset = StoredDataset {
            objects: &self.objects,
            manifest: &examples.manifest,
            runtime,
        };
        let test = match examples.manifest.images(Split::Test) {
            0 => None,
            _ => match dataset.measure(Split::Test, &network, &evaluator)? {
                None => return Ok(None),
                measured => measured,
            },
        };
        let measurement = Measurement { validation, test };
        let evaluation = runtime.block_on(measurement.evaluation(&card.classes, &*self.jobs))?;
        let measured = Measured {
            predictions: &predictions,
            measurement: &measurement,
            evaluation: evaluation.clone(),
            robustness,
        };
        let report = Report::new(
            &self.record,
            learner.progress(),
            &network,
            examples,
            measured,
        );
        let thumbnails = report::thumbnails(&report, examples)?;
        let record = Model {
            id: self.record.id,
            dataset: self.record.dataset,
            network: self.record.network,
            classes: card.classes,
            pixels: card.pixels,
            parameters: report.parameters,
            accuracy: report.accuracy,
            loss: report.loss,
            evaluation: Some(evaluation),
            seconds: report.seconds,
            created: now(),
        };
        Ok(Some(TrainedModel {
            record,
            weights: weights.clone(),
            report: serde_json::to_vec_pretty(&report)?.into(),
            report_page: report::page(&report, &thumbnails).into(),
        }))
    }
}
