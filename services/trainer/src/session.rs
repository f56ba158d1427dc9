//! A network in training: knows no storage, and can be put down after any step
//! and taken up again, elsewhere, as if nothing had been.

use std::{thread, time::Instant};

use anyhow::{Context, Result};
use burn::{
    module::Module,
    optim::GradientsParams,
    store::ModuleRecord,
    tensor::{Device, Tensor},
};
use bytes::Bytes;
use maskline_messages::{Label, NetworkName, TrainingSettings};
use maskline_models::{
    Network, input,
    prediction::{self, Prediction, Score, Tally},
    weights::{self, Card},
};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{
    batches::{self, Batch, Preparation},
    course::Halt,
    evaluation,
    examples::Examples,
    hopeless::Hopeless,
    optimizer,
    random::{Purpose, derived_seed, stream},
    schedule::Schedule,
};

/// Steps between looks at the losses: on a GPU each waits for all that was
/// asked of it.
const LOOK_EVERY: usize = 16;

/// Images that the batch norms' statistics are computed over, before the network
/// is measured.
const STATISTICS_IMAGES: usize = 512;

/// What is to be trained.
#[derive(Clone)]
pub struct Task {
    pub network: NetworkName,
    pub settings: TrainingSettings,
    pub classes: Vec<Label>,
    /// The device to compute on, and how people call it.
    pub device: Device,
    pub device_name: String,
}

impl Task {
    fn card(&self) -> Card {
        Card {
            network: self.network,
            classes: self.classes.clone(),
            pixels: self.settings.pixels,
        }
    }

    fn batch(&self) -> usize {
        self.settings.batch as usize
    }
}

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The epochs done: trained and measured.
    pub epochs: Vec<Epoch>,
    /// Of the epoch at hand: steps done,
    pub step: usize,
    /// what the network said on the way, and for how long it was trained.
    pub tally: Tally,
    pub training_seconds: f64,
    /// All of it, measuring included, over all attempts.
    pub seconds: f64,
}

/// One epoch of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Of its last step.
    pub learning_rate: f64,
    /// On the augmented images that it learned from, while it did.
    pub training: Score,
    /// At its end, on images that it never learned from.
    pub validation: Score,
    /// Images learned from in a second.
    pub images_per_second: f64,
    pub device: String,
}

impl Progress {
    /// The best epoch so far: by accuracy, then by loss, then the earliest.
    pub fn best(&self) -> Option<&Epoch> {
        self.epochs.iter().reduce(|best, epoch| {
            if epoch.validation.is_better_than(&best.validation) {
                epoch
            } else {
                best
            }
        })
    }
}

/// Where [`Session::advance`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// After an epoch.
    Epoch,
    /// Somewhere in one, because it was asked to halt.
    Halted,
}

/// All that a session is, to be taken up later.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub progress: Progress,
    /// Weights and running statistics, as Burn packs them.
    pub network: Bytes,
    /// See [`optimizer::Optimizer::save`].
    pub optimizer: Bytes,
    /// The network of the best epoch so far, as it would be published.
    pub best: Option<Bytes>,
}

/// A network in training.
pub struct Session {
    task: Task,
    /// The task's device, recording what gradients need.
    device: Device,
    network: Network,
    optimizer: optimizer::Optimizer,
    best: Option<Bytes>,
    progress: Progress,
}

impl Session {
    /// From the beginning.
    pub fn begin(task: Task) -> Self {
        let device = task.device.clone().autodiff();
        let seed = task.settings.seed;
        Self {
            network: Network::new(task.network, task.classes.len(), seed, &device),
            optimizer: optimizer::Optimizer::new(&task.settings),
            device,
            task,
            best: None,
            progress: Progress::default(),
        }
    }

    /// From where it was put down.
    pub fn resume(task: Task, snapshot: Snapshot) -> Result<Self> {
        let mut session = Self::begin(task);
        let packed = burn::tensor::Bytes::from_bytes_vec(snapshot.network.to_vec());
        let record = ModuleRecord::from_bytes(packed)?;
        session.network = session.network.try_load_record(record)?;
        session.optimizer = session
            .optimizer
            .restore(&snapshot.optimizer, &session.task.device)
            .context("the optimizer's state can't be used")?;
        session.best = snapshot.best;
        session.progress = snapshot.progress;
        Ok(session)
    }

    /// All of it, to be taken up later.
    pub fn snapshot(&self) -> Result<Snapshot> {
        // Without gradients, which also brings the running statistics up to date.
        let network = self.network.valid().into_record().into_bytes()?;
        Ok(Snapshot {
            progress: self.progress.clone(),
            network: Bytes::copy_from_slice(&network),
            optimizer: self.optimizer.save()?.into(),
            best: self.best.clone(),
        })
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub fn is_done(&self) -> bool {
        self.progress.epochs.len() >= self.task.settings.epochs as usize
    }

    /// The network of the best epoch, as it is published: a safetensors file.
    pub fn best(&self) -> Option<&Bytes> {
        self.best.as_ref()
    }

    /// Trains to the end of the epoch at hand and measures, or stops after the
    /// step at hand when `halt` asks for it.
    pub fn advance(&mut self, examples: &Examples, halt: &Halt) -> Result<Advance> {
        let began = Instant::now();
        let advance = self.epoch(examples, halt);
        self.progress.seconds += began.elapsed().as_secs_f64();
        advance
    }

    fn epoch(&mut self, examples: &Examples, halt: &Halt) -> Result<Advance> {
        let began = Instant::now();
        let rate = self.train(examples, halt);
        self.progress.training_seconds += began.elapsed().as_secs_f64();
        let Some(learning_rate) = rate? else {
            return Ok(Advance::Halted);
        };
        let network = self.measurable(examples)?;
        let (side, batch) = (self.task.settings.pixels, self.task.batch());
        let device = &self.task.device;
        let split = &examples.validation;
        let predictions =
            evaluation::evaluate(&network, examples, split, side, batch, device, halt)?;
        let Some(predictions) = predictions else {
            return Ok(Advance::Halted);
        };
        let validation = evaluation::tally(&predictions, split).score();
        let best = self.progress.best().map(|epoch| epoch.validation);
        if best.is_none_or(|best| validation.is_better_than(&best)) {
            self.best = Some(weights::to_safetensors(&network, &self.task.card())?.into());
        }
        self.close_epoch(learning_rate, validation);
        Ok(Advance::Epoch)
    }

    fn close_epoch(&mut self, learning_rate: f64, validation: Score) {
        let progress = &mut self.progress;
        let tally = std::mem::take(&mut progress.tally);
        let seconds = std::mem::take(&mut progress.training_seconds);
        progress.step = 0;
        progress.epochs.push(Epoch {
            epoch: progress.epochs.len() + 1,
            learning_rate,
            training: tally.score(),
            validation,
            images_per_second: tally.images as f64 / seconds.max(f64::MIN_POSITIVE),
            device: self.task.device_name.clone(),
        });
    }

    /// Does the rest of the epoch's steps. Returns the learning rate of the last,
    /// or `None` if it was asked to halt.
    fn train(&mut self, examples: &Examples, halt: &Halt) -> Result<Option<f64>> {
        let (epoch, seed) = (self.progress.epochs.len(), self.task.settings.seed);
        let order = batches::order(seed, epoch, examples.training.len());
        let mut plan = batches::training_batches(&order, self.task.batch());
        let steps = plan.len();
        let schedule = Schedule::new(&self.task.settings, steps);
        let rest = plan.split_off(self.progress.step.min(steps));
        thread::scope(|scope| {
            let (threads, split) = (&examples.threads, &examples.training);
            let side = self.task.settings.pixels;
            let augmented = Preparation::Augmented { seed, epoch };
            let prepared = batches::prepare(scope, threads, split, rest, side, augmented);
            let mut unread = vec![];
            while self.progress.step < steps {
                let batch = prepared.recv().context("the batches ended early")??;
                let rate = schedule.at(epoch * steps + self.progress.step);
                unread.push(self.step(batch, rate));
                self.progress.step += 1;
                if unread.len() == LOOK_EVERY {
                    self.look(std::mem::take(&mut unread))?;
                }
                if halt.is_asked() {
                    self.look(unread)?;
                    return Ok(None);
                }
            }
            self.look(unread)?;
            Ok(Some(schedule.at((epoch + 1) * steps - 1)))
        })
    }

    /// One step. Returns what the network said before it.
    fn step(&mut self, batch: Batch, rate: f64) -> Said {
        let epoch = self.progress.epochs.len();
        let settings = &self.task.settings;
        // A chance of its own for each step, so that a run that was interrupted
        // drops the same as one that was not.
        let (step, seed) = (self.progress.step, settings.seed);
        self.device
            .seed(derived_seed(seed, Purpose::Dropout, epoch, step));
        let Batch { planes, classes } = batch;
        let images = input::tensor(planes, settings.pixels, &self.device);
        let logits = self.network.forward(images);
        let loss = prediction::training_loss(logits.clone(), &classes, settings.label_smoothing);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        self.network = self.optimizer.step(rate, self.network.clone(), gradients);
        Said {
            logits: logits.inner(),
            classes,
        }
    }

    /// Takes down what was said in the last steps.
    fn look(&mut self, unread: Vec<Said>) -> Result<()> {
        let first = self.progress.step - unread.len();
        for (step, said) in (first..).zip(unread) {
            let predictions = Prediction::of_batch(said.logits)?;
            for (prediction, class) in predictions.iter().zip(said.classes) {
                if !prediction.loss(class).is_finite() {
                    return Err(Hopeless::Diverged {
                        epoch: self.progress.epochs.len() + 1,
                        step: step + 1,
                        learning_rate: self.task.settings.learning_rate,
                    }
                    .into());
                }
                self.progress.tally.add(prediction, class);
            }
        }
        Ok(())
    }

    /// The network as it is measured and published: without gradients, and with
    /// batch-norm statistics of the weights as they are now instead of running
    /// means over weights that were, on images as they are now.
    fn measurable(&self, examples: &Examples) -> Result<Network> {
        let (seed, epoch) = (self.task.settings.seed, self.progress.epochs.len());
        let mut indices: Vec<usize> = (0..examples.training.len()).collect();
        indices.shuffle(&mut stream(seed, Purpose::Statistics, epoch, 0));
        indices.truncate(STATISTICS_IMAGES.max(self.task.batch()));
        let plan = batches::training_batches(&indices, self.task.batch());
        let side = self.task.settings.pixels;
        thread::scope(|scope| {
            let (threads, split) = (&examples.threads, &examples.training);
            let prepared = batches::prepare(scope, threads, split, plan, side, Preparation::Plain);
            let mut failure = None;
            let images = prepared.into_iter().map_while(|batch| match batch {
                Ok(batch) => Some(input::tensor(batch.planes, side, &self.task.device)),
                Err(error) => {
                    failure = Some(error);
                    None
                }
            });
            let network = self.network.recalibrated(images);
            failure.map_or(Ok(network), Err)
        })
    }
}

/// What the network said in one step, not read yet.
struct Said {
    logits: Tensor<2>,
    classes: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use maskline_messages::Optimizer;

    use super::*;
    use crate::fixtures::{Drawing, Store, alone, compute};

    fn task(examples: &Examples, settings: TrainingSettings) -> Task {
        let compute = compute();
        Task {
            network: NetworkName::MobilenetV3Small,
            settings,
            classes: examples.manifest.classes.clone(),
            device: compute.device,
            device_name: compute.name,
        }
    }

    fn settings(epochs: u32, optimizer: Optimizer) -> TrainingSettings {
        TrainingSettings {
            epochs,
            batch: 8,
            pixels: 32,
            optimizer,
            ..TrainingSettings::default()
        }
    }

    async fn examples() -> Examples {
        let store = Store::new().await;
        let dataset = store.dataset(&Drawing::default()).await;
        store.examples(&dataset, 32, 1 << 30).await
    }

    fn to_the_end(session: &mut Session, examples: &Examples) {
        while !session.is_done() {
            let advance = session.advance(examples, &Halt::default()).unwrap();
            assert_eq!(advance, Advance::Epoch);
        }
    }

    /// What must not depend on when and how often a run was interrupted.
    fn essence(session: &Session) -> (Vec<(Score, Score, f64)>, Option<Bytes>) {
        let epochs = session.progress().epochs.iter();
        let scores = epochs.map(|epoch| (epoch.training, epoch.validation, epoch.learning_rate));
        (scores.collect(), session.best().cloned())
    }

    #[tokio::test]
    async fn a_run_that_is_interrupted_anywhere_ends_as_one_that_is_not() {
        let _alone = alone().await;
        let examples = examples().await;
        for optimizer in [Optimizer::Adamw, Optimizer::Sgd] {
            let task = task(&examples, settings(2, optimizer));
            let mut undisturbed = Session::begin(task.clone());
            to_the_end(&mut undisturbed, &examples);

            let impatient = Halt::default();
            impatient.stopping.cancel();
            let mut session = Session::begin(task.clone());
            // Of six steps an epoch: in the first, after its last step and before
            // it was measured, and in the second.
            for steps in [2, 4, 0, 1] {
                for _ in 0..steps {
                    let advance = session.advance(&examples, &impatient).unwrap();
                    assert_eq!(advance, Advance::Halted);
                }
                session = Session::resume(task.clone(), session.snapshot().unwrap()).unwrap();
                if session.progress().step == 6 {
                    session.advance(&examples, &Halt::default()).unwrap();
                }
            }
            assert_eq!(
                (session.progress().epochs.len(), session.progress().step),
                (1, 1)
            );
            to_the_end(&mut session, &examples);
            assert_eq!(essence(&session), essence(&undisturbed));
        }
    }

    #[tokio::test]
    async fn two_colours_are_told_apart_after_a_few_epochs() {
        let _alone = alone().await;
        let examples = examples().await;
        let mut session = Session::begin(task(&examples, settings(8, Optimizer::Adamw)));
        to_the_end(&mut session, &examples);
        let best = session.progress().best().unwrap();
        assert!(best.validation.accuracy >= 0.9, "{:?}", session.progress());
        let first = &session.progress().epochs[0];
        assert!(
            best.training.loss < first.training.loss,
            "{:?}",
            session.progress()
        );
    }

    #[tokio::test]
    async fn a_loss_that_is_no_number_is_hopeless() {
        let _alone = alone().await;
        let examples = examples().await;
        let wild = TrainingSettings {
            learning_rate: 1e30,
            warmup_epochs: 0.0,
            ..settings(3, Optimizer::Sgd)
        };
        let mut session = Session::begin(task(&examples, wild));
        let error = loop {
            assert!(!session.is_done(), "it did not diverge");
            if let Err(error) = session.advance(&examples, &Halt::default()) {
                break error;
            }
        };
        let hopeless = error.downcast_ref::<Hopeless>();
        assert!(
            matches!(hopeless, Some(Hopeless::Diverged { .. })),
            "{error:#}"
        );
    }
}
