//! A network in training.
//!
//! The learner does no I/O. It can be stopped after any step, and a learner that is made
//! from its snapshot, even on another machine, continues as if nothing had happened.

#[cfg(test)]
pub(crate) mod faults;
mod step;

use std::{mem, thread, time::Instant};

use anyhow::{Context, Result};
use burn::{module::Module, store::ModuleRecord, tensor::Device};
use bytes::Bytes;
use maskline_messages::{Label, NetworkName, TrainingSettings};
use maskline_models::{
    Network, input,
    optimizer::Optimizer,
    weights::{self, Card},
};
use rand::seq::SliceRandom;
use step::StepOutput;

use crate::{
    batches::{self, Preparation},
    evaluation::{self, Evaluator},
    examples::Examples,
    interrupt::Interrupt,
    metrics::{Epoch, TrainingProgress},
    mixing::Mixing,
    parts::{self, Parts},
    permanent_error::PermanentError,
    random::{Purpose, stream},
    schedule::Schedule,
};

/// The number of steps after which their outputs are read. Reading waits for a GPU to
/// compute all that was asked of it, so that it is not done after every step.
const STEPS_BETWEEN_METRICS: usize = 16;

/// The number of images that the statistics of the batch norms are computed over, before
/// the network is evaluated.
const STATISTICS_IMAGES: usize = 512;

/// What a learner trains, and on which device.
#[derive(Clone)]
pub(crate) struct LearnerConfig {
    pub(crate) network: NetworkName,
    pub(crate) settings: TrainingSettings,
    pub(crate) classes: Vec<Label>,
    pub(crate) device: Device,
    /// The device, as people call it.
    pub(crate) device_name: String,
    /// The weights that the network begins from, a safetensors file. `None` begins from random ones.
    pub(crate) weights: Option<Bytes>,
}

impl LearnerConfig {
    fn card(&self) -> Card {
        let TrainingSettings {
            pixels,
            view,
            mirror_image,
            ..
        } = self.settings;
        Card {
            mirror_image,
            ..Card::new(self.network, self.classes.clone(), pixels, view)
        }
    }

    fn batch(&self) -> usize {
        self.settings.batch as usize
    }
}

/// Why [`Learner::advance`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advance {
    /// An epoch is complete.
    EpochDone,
    /// An interrupt was requested within the epoch.
    Interrupted,
}

/// The complete state of a learner.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) progress: TrainingProgress,
    /// The weights and running statistics in Burn's format.
    pub(crate) network: Bytes,
    /// See [`Optimizer::save`].
    pub(crate) optimizer: Bytes,
}

/// A network in training.
pub(crate) struct Learner {
    config: LearnerConfig,
    /// The device of the config, with autodiff.
    device: Device,
    network: Network,
    optimizer: Optimizer,
    progress: TrainingProgress,
    /// Whether this learner has done a step, and the device had memory for all of it.
    has_fitted: bool,
}

impl Learner {
    /// A learner at the beginning of its run.
    ///
    /// # Errors
    /// [`PermanentError::Weights`] if the weights to begin from are not those of the network, and
    /// [`PermanentError::FrozenBlocks`] if it has fewer blocks than are to be frozen.
    pub(crate) fn new(config: LearnerConfig) -> Result<Self> {
        let device = config.device.clone().autodiff();
        let settings = &config.settings;
        let (name, classes, seed) = (config.network, config.classes.len(), settings.seed);
        let network = match &config.weights {
            None => Network::new(name, classes, seed, &device),
            Some(weights) => weights::backbone(weights, name, classes, seed, &device)
                .map_err(|error| PermanentError::Weights(error.to_string()))?,
        };
        let network = network
            .with_frozen_blocks(settings.frozen_blocks as usize)
            .map_err(|error| PermanentError::FrozenBlocks(error.to_string()))?;
        let network = match settings.stochastic_depth {
            Some(last) => network.with_stochastic_depth(last.into()),
            None => network,
        };
        Ok(Self {
            network,
            optimizer: Optimizer::new(&config.settings),
            device,
            config,
            progress: TrainingProgress::default(),
            has_fitted: false,
        })
    }

    /// A learner that continues from a snapshot.
    ///
    /// # Errors
    /// If the snapshot does not fit the config.
    pub(crate) fn resume(config: LearnerConfig, snapshot: Snapshot) -> Result<Self> {
        let mut learner = Self::new(config)?;
        let packed = burn::tensor::Bytes::from_bytes_vec(snapshot.network.to_vec());
        let record = ModuleRecord::from_bytes(packed)?;
        learner.network = learner.network.try_load_record(record)?;
        learner.optimizer = learner
            .optimizer
            .restore(&snapshot.optimizer, &learner.config.device)
            .context("the optimizer's state can't be used")?;
        learner.progress = snapshot.progress;
        Ok(learner)
    }

    /// The same learner, which computes each batch in so many parts.
    pub(crate) fn with_parts(mut self, parts: Parts) -> Self {
        self.progress.parts = parts;
        self
    }

    /// The number of images that are computed at a time.
    pub(crate) fn images_at_a_time(&self) -> usize {
        self.progress.parts.images(self.config.batch())
    }

    /// The complete state, for [`Learner::resume`].
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        // `valid` drops the gradients and brings the running statistics up to date.
        let network = self.network.valid().into_record().into_bytes()?;
        Ok(Snapshot {
            progress: self.progress.clone(),
            network: Bytes::copy_from_slice(&network),
            optimizer: self.optimizer.save()?.into(),
        })
    }

    pub(crate) fn progress(&self) -> &TrainingProgress {
        &self.progress
    }

    /// Returns whether so many epochs are complete.
    pub(crate) fn has_done(&self, epochs: u32) -> bool {
        self.progress.epochs.len() >= epochs as usize
    }

    /// The network as it was evaluated at the end of the last complete epoch, as a safetensors file
    /// to publish.
    pub(crate) fn published(&self, examples: &Examples) -> Result<Bytes> {
        parts::halving(self.images_at_a_time(), |images| {
            let network = self.calibrated(examples, images)?;
            // This reads all of the network, so that no lack of memory is left for later.
            Ok(weights::to_safetensors(&network, &self.config.card())?.into())
        })
    }

    /// Completes the current epoch: trains its remaining steps and evaluates the network.
    /// Returns earlier, after the current step, if `interrupt` is requested.
    ///
    /// # Errors
    /// [`PermanentError::Diverged`] if the loss is not finite any more.
    pub(crate) fn advance(
        &mut self,
        examples: &Examples,
        interrupt: &Interrupt,
    ) -> Result<Advance> {
        let began = Instant::now();
        let mut advance = self.train_epoch(examples, interrupt)?;
        self.progress.training_seconds += began.elapsed().as_secs_f64();
        if advance == Advance::EpochDone {
            advance = self.evaluate_epoch(examples, interrupt)?;
        }
        self.progress.seconds += began.elapsed().as_secs_f64();
        Ok(advance)
    }

    /// Trains the remaining steps of the current epoch.
    fn train_epoch(&mut self, examples: &Examples, interrupt: &Interrupt) -> Result<Advance> {
        let (epoch, seed) = (self.progress.epochs.len(), self.config.settings.seed);
        let order = batches::order(seed, epoch, examples.training.len());
        let mut batches = batches::training_batches(&order, self.config.batch());
        let steps = batches.len();
        let schedule = Schedule::new(&self.config.settings, steps);
        let remaining = batches.split_off(self.progress.step.min(steps));
        thread::scope(|scope| {
            let (threads, set) = (&examples.threads, &examples.training);
            let side = self.config.settings.pixels;
            let augmented = Preparation::Augmented {
                seed,
                epoch,
                mixing: Mixing::of(&self.config.settings),
            };
            let prepared = batches::prepare(scope, threads, set, remaining, side, augmented);
            let mut unread = vec![];
            while self.progress.step < steps {
                let batch = prepared.recv().context("the batches ended early")??;
                let rate = schedule.at(epoch * steps + self.progress.step);
                unread.push(self.step(batch, rate));
                self.progress.step += 1;
                if !self.has_fitted {
                    // A device says only then that it had no memory for a tensor when what
                    // depends on it is read. The optimizer's state depends on every gradient.
                    self.optimizer.save()?;
                    self.has_fitted = true;
                }
                if interrupt.is_requested() {
                    self.record_metrics(unread)?;
                    return Ok(Advance::Interrupted);
                }
                if unread.len() == STEPS_BETWEEN_METRICS {
                    self.record_metrics(mem::take(&mut unread))?;
                }
            }
            self.record_metrics(unread)?;
            Ok(Advance::EpochDone)
        })
    }

    /// Reads the outputs of the last steps and adds up their predictions.
    fn record_metrics(&mut self, outputs: Vec<StepOutput>) -> Result<()> {
        let first = self.progress.step - outputs.len();
        for (step, output) in (first..).zip(outputs) {
            #[cfg(test)]
            self.check_faults(output.images_at_a_time())?;
            for (prediction, class, shares) in output.read()? {
                if !prediction.loss(class).is_finite() {
                    return Err(self.diverged(step + 1));
                }
                self.progress.tally.add(&prediction, &shares);
            }
        }
        Ok(())
    }

    /// The error that the loss is not finite any more. `step` is the step of the current epoch, counted
    /// from 1, in which or after which that was found.
    fn diverged(&self, step: usize) -> anyhow::Error {
        let error = PermanentError::Diverged {
            epoch: self.progress.epochs.len() + 1,
            step,
            learning_rate: self.config.settings.learning_rate,
        };
        error.into()
    }

    /// Evaluates the network after the last step of the current epoch, and closes the epoch.
    fn evaluate_epoch(&mut self, examples: &Examples, interrupt: &Interrupt) -> Result<Advance> {
        let network = self.calibrated(examples, self.images_at_a_time())?;
        let evaluator = Evaluator {
            threads: &examples.threads,
            input: (&self.config.settings).into(),
            batch: self.images_at_a_time(),
            device: &self.config.device,
            interrupt,
        };
        let Some(predictions) = evaluator.predict(&network, &examples.validation)? else {
            return Ok(Advance::Interrupted);
        };
        let validation = evaluation::tally(&predictions, &examples.validation).score();
        if !validation.loss.is_finite() {
            return Err(self.diverged(self.progress.step));
        }
        let progress = &mut self.progress;
        let steps = mem::take(&mut progress.step);
        let tally = mem::take(&mut progress.tally);
        let seconds = mem::take(&mut progress.training_seconds);
        let epoch = progress.epochs.len() + 1;
        let schedule = Schedule::new(&self.config.settings, steps);
        progress.epochs.push(Epoch {
            epoch,
            learning_rate: schedule.at(epoch * steps - 1),
            training: tally.score(),
            validation,
            images_per_second: tally.images as f64 / seconds.max(f64::MIN_POSITIVE),
            device: self.config.device_name.clone(),
            parts: progress.parts,
        });
        Ok(Advance::EpochDone)
    }

    /// The network as it is evaluated and published: without gradients, and with
    /// batch-norm statistics that belong to its weights, computed over images that are not
    /// augmented. The statistics from training are means over earlier weights. `images` is the
    /// number of images that are computed at a time.
    ///
    /// # Errors
    /// [`ModelError::DeviceMemory`](maskline_models::ModelError::DeviceMemory) if the device has no
    /// memory for so many.
    fn calibrated(&self, examples: &Examples, images: usize) -> Result<Network> {
        let seed = self.config.settings.seed;
        let mut indices: Vec<usize> = (0..examples.training.len()).collect();
        // The same images after every epoch, so that the published network is the evaluated one.
        indices.shuffle(&mut stream(seed, Purpose::Statistics, 0, 0));
        indices.truncate(STATISTICS_IMAGES.max(self.config.batch()));
        let batches = batches::training_batches(&indices, images);
        let side = self.config.settings.pixels;
        thread::scope(|scope| {
            let (threads, set) = (&examples.threads, &examples.training);
            let prepared = batches::prepare(scope, threads, set, batches, side, Preparation::Plain);
            let mut failure = None;
            let inputs = prepared.into_iter().map_while(|batch| match batch {
                Ok(batch) => Some(input::tensor(batch.planes, side, &self.config.device)),
                Err(error) => {
                    failure = Some(error);
                    None
                }
            });
            let network = self.optimizer.averaged(self.network.clone());
            let network = network.recalibrated(inputs)?;
            #[cfg(test)]
            self.check_faults(images)?;
            let network = network.with_mirror_image(self.config.settings.mirror_image);
            failure.map_or(Ok(network), Err)
        })
    }

    /// Fails where the device of a test does.
    #[cfg(test)]
    fn check_faults(&self, images: usize) -> Result<()> {
        let epoch = self.progress.epochs.len() + 1;
        Ok(faults::check(&self.config.device_name, epoch, images)?)
    }
}

#[cfg(test)]
mod tests;
