//! One training run, from its dataset to a trained model.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use maskline_dataset::Split;
use maskline_foundation::telemetry_names::{
    attribute::{
        EPOCH, IMAGES_PER_SECOND, LEARNING_RATE, TRAINING_LOSS, VALIDATION_ACCURACY,
        VALIDATION_LOSS,
    },
    span,
};
use maskline_messages::{Method, NetworkName, ObjectKey, Start};
use maskline_models::{
    device::Compute,
    prediction::Score,
    temperature::Temperature,
    weights::{self, Card},
};
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
    metrics::{Epoch, TrainingProgress},
    permanent_error::PermanentError,
    probe::{Probe, ProbeRun},
    publish::TrainedModel,
    report::{self, Measured, Report},
    robustness,
    shortcut::{self, Files},
    shown::InputShape,
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
    /// Whether it is a trial of a study. The catalog does not list such a run.
    pub(crate) is_trial: bool,
}

impl TrainingRun {
    /// Trains to the end, from the run's latest checkpoint if it has one. Blocks the thread;
    /// `runtime` is for the I/O. Returns `None` if the service is asked to stop, after a
    /// checkpoint is saved.
    ///
    /// # Errors
    /// [`PermanentError`] if no retry can help.
    pub(crate) fn execute(mut self, runtime: &Handle) -> Result<Option<TrainedModel>> {
        self.prepare()?;
        match self.record.network {
            Method::Network(network) => self.train(network, runtime),
            Method::LinearProbe => self.probe(runtime),
        }
    }

    /// Trains a network until so many epochs are done, from the run's latest checkpoint if it has
    /// one. What it does in them does not depend on how many there are: the learning rate follows
    /// the schedule of the whole run. Returns the score at the end of these epochs, or `None` if the
    /// service is asked to stop. A checkpoint is saved in both cases.
    ///
    /// # Errors
    /// [`PermanentError`] if no retry can help.
    pub(crate) fn execute_until(
        mut self,
        epochs: u32,
        network: NetworkName,
        runtime: &Handle,
    ) -> Result<Option<Score>> {
        self.prepare()?;
        let examples = runtime.block_on(self.load_examples())?;
        let Some(learner) = self.learn(network, epochs, &examples, runtime)? else {
            return Ok(None);
        };
        // Another trainer may have trained it for longer.
        let score = learner.progress().validation_after(epochs as usize);
        Ok(Some(score.context("a trial without epochs")?))
    }

    fn prepare(&mut self) -> Result<()> {
        let settings = &self.record.settings;
        settings.validate().map_err(PermanentError::from)?;
        self.compute = self.compute.clone().for_pixels(settings.pixels);
        self.record.device = Some(self.compute.name.clone());
        // Runs before this one may have been computed in other threads.
        self.compute.free_memory();
        Ok(())
    }

    /// Trains all layers of a network to the end.
    fn train(mut self, network: NetworkName, runtime: &Handle) -> Result<Option<TrainedModel>> {
        let examples = runtime.block_on(self.load_examples())?;
        let epochs = self.record.settings.epochs;
        let Some(learner) = self.learn(network, epochs, &examples, runtime)? else {
            return Ok(None);
        };
        let weights = learner.published(&examples)?;
        self.trained_model(&weights, learner.progress(), None, &examples, runtime)
    }

    /// Trains a network, epoch by epoch, until so many are done. Returns `None` if the service is
    /// asked to stop before.
    fn learn(
        &mut self,
        network: NetworkName,
        epochs: u32,
        examples: &Examples,
        runtime: &Handle,
    ) -> Result<Option<Learner>> {
        let mut learner = runtime.block_on(self.resume(network, examples))?;
        // The best trial of a study is all trained when it becomes a run.
        self.note_progress(learner.progress())?;
        while !learner.has_done(epochs) {
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
            let advance = match span.in_scope(|| learner.advance(examples, &self.interrupt)) {
                Ok(advance) => advance,
                Err(error) => {
                    let (reason, parts) = (format!("{error:#}"), learner.progress().parts);
                    let parts = parts.doubled_for(error, self.record.settings.batch as usize)?;
                    self.interrupt.check_lease(self.record.id)?;
                    // What the device has computed since the last checkpoint can't be used.
                    drop(learner);
                    self.compute.free_memory();
                    learner = runtime.block_on(self.resume(network, examples))?;
                    learner = learner.with_parts(parts);
                    tracing::warn!(
                        run = %self.record.id,
                        device = self.compute.name,
                        images = learner.images_at_a_time(),
                        parts = parts.count(),
                        reason,
                        "the device has no memory for the batch, which is computed in parts from now on"
                    );
                    continue;
                }
            };
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
        Ok(Some(learner))
    }

    /// Makes a linear probe.
    fn probe(mut self, runtime: &Handle) -> Result<Option<TrainedModel>> {
        let began = Instant::now();
        let (run, device) = (self.record.id, &self.compute.name);
        tracing::info!(%run, device, "making a linear probe");
        let input = InputShape::from(&self.record.settings);
        let examples = runtime.block_on(async {
            self.update_record().await?;
            let dataset = &self.record.dataset;
            let manifest = manifest::read_trainable(&self.objects, dataset).await?;
            Examples::load_validation(&self.objects, manifest, input, self.image_memory).await
        })?;
        let evaluator = self.evaluator(&examples, input);
        let probe = ProbeRun {
            objects: &self.objects,
            library: &*self.library,
            dataset: self.record.dataset,
            manifest: &examples.manifest,
            settings: &self.record.settings,
            evaluator: &evaluator,
            interrupt: &self.interrupt,
            lease_progress: &self.lease_progress,
            memory: self.image_memory,
            runtime,
        };
        let Some(probe) = probe.execute()? else {
            self.interrupt.check_lease(run)?;
            return Ok(None);
        };
        self.record.epoch = self.record.epochs();
        runtime.block_on(self.update_record())?;
        let progress = TrainingProgress {
            seconds: began.elapsed().as_secs_f64(),
            ..TrainingProgress::default()
        };
        let weights = probe.weights.clone();
        self.trained_model(&weights, &progress, Some(probe), &examples, runtime)
    }

    fn evaluator<'a>(&'a self, examples: &'a Examples, input: InputShape) -> Evaluator<'a> {
        Evaluator {
            threads: &examples.threads,
            input,
            batch: self.record.settings.batch as usize,
            device: &self.compute.device,
            interrupt: &self.interrupt,
        }
    }

    async fn load_examples(&self) -> Result<Examples> {
        let objects = &self.objects;
        let manifest = manifest::read_trainable(objects, &self.record.dataset).await?;
        let input = InputShape::from(&self.record.settings);
        Examples::load(objects, manifest, input, self.image_memory).await
    }

    /// A learner that continues from the latest checkpoint, or a new one if there is no
    /// usable checkpoint.
    async fn resume(&self, network: NetworkName, examples: &Examples) -> Result<Learner> {
        self.update_record().await?;
        let run = self.record.id;
        let (images, device) = (examples.training.len(), &self.compute.name);
        let config = LearnerConfig {
            network,
            settings: self.record.settings.clone(),
            classes: examples.manifest.classes.clone(),
            device: self.compute.device.clone(),
            device_name: device.clone(),
            weights: self.start_weights(network).await?,
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
        Learner::new(config)
    }

    /// The weights that the network begins from. `None` if they are random.
    async fn start_weights(&self, network: NetworkName) -> Result<Option<Bytes>> {
        match self.record.settings.start {
            Start::Scratch => Ok(None),
            Start::Pretrained => match maskline_pretrained::backbone(network) {
                Some(backbone) => Ok(Some(Bytes::from_static(backbone.safetensors))),
                None => Err(PermanentError::NoPretrained { network }.into()),
            },
            Start::Stored(weights) => {
                let key = ObjectKey::weights(&weights);
                match self.objects.get(&key).await {
                    Err(missing) if missing.is_not_found() => {
                        let location = self.objects.locate(&key);
                        Err(PermanentError::NoWeights { weights, location }.into())
                    }
                    weights => Ok(Some(weights?)),
                }
            }
        }
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
        self.note_progress(&snapshot.progress)?;
        self.update_record().await
    }

    /// Writes how far the training is into the record.
    fn note_progress(&mut self, progress: &TrainingProgress) -> Result<()> {
        let epochs = progress.epochs.len();
        let score = progress.validation_after(epochs);
        self.record.epoch = u32::try_from(epochs)?;
        self.record.accuracy = score.map(|score| score.accuracy);
        self.record.loss = score.map(|score| score.loss);
        Ok(())
    }

    async fn update_record(&self) -> Result<()> {
        if !self.is_trial {
            self.library.update_run(&self.record).await?;
        }
        Ok(())
    }

    /// Measures the network of the last epoch or of the probe, read back from its file, fits its
    /// temperature to the validation images, and writes the report. The test images are read here for
    /// the first time. Returns `None` if an interrupt is requested meanwhile.
    fn trained_model(
        &self,
        weights: &Bytes,
        progress: &TrainingProgress,
        probe: Option<Probe>,
        examples: &Examples,
        runtime: &Handle,
    ) -> Result<Option<TrainedModel>> {
        let (network, card) = weights::from_safetensors(weights, &self.compute.device)?;
        let evaluator = Evaluator {
            batch: progress.parts.images(self.record.settings.batch as usize),
            ..self.evaluator(examples, (&card).into())
        };
        let Some(predictions) = evaluator.predict(&network, &examples.validation)? else {
            return Ok(None);
        };
        let labelled = predictions.iter().zip(examples.validation.classes());
        let temperature = Temperature::fitted(labelled);
        let card = Card {
            temperature,
            ..card
        };
        let weights = weights::with_card(weights, &card)?.into();
        let mut validation = SplitMeasurement::new(card.classes.len(), temperature);
        validation.add(&predictions, &examples.validation);
        let predictions = predictions.iter();
        let predictions: Vec<_> = predictions.map(|raw| temperature.applied(raw)).collect();
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
            _ => match dataset.measure(Split::Test, &network, temperature, &evaluator)? {
                None => return Ok(None),
                measured => measured,
            },
        };
        let files = match &probe {
            Some(probe) => probe.files.clone(),
            None => Files::of(&examples.training),
        };
        let validation_files = Files::of(&examples.validation);
        let shortcut = shortcut::measure(&files, &validation_files, card.classes.len());
        let measurement = Measurement { validation, test };
        let evaluation = runtime.block_on(measurement.evaluation(&card.classes, &*self.jobs))?;
        let measured = Measured {
            predictions: &predictions,
            temperature,
            measurement: &measurement,
            evaluation: evaluation.clone(),
            robustness,
            shortcut,
        };
        let report = Report::new(
            &self.record,
            progress,
            probe.as_ref().map(|probe| probe.facts.clone()),
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
            weights,
            out_of_fold: probe.map(|probe| probe.out_of_fold),
            report: serde_json::to_vec_pretty(&report)?.into(),
            report_page: report::page(&report, &thumbnails).into(),
        }))
    }
}
