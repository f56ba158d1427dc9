//! The course of one run: its dataset, the checkpoint it goes on from, its
//! epochs, and what it leaves to publish.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use maskline_models::{device::Compute, weights};
use maskline_storage::{
    Stores,
    lease::LeaseProgress,
    records::{Model, Run, now},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field::Empty, info_span};

use crate::{
    checkpoint, evaluation,
    examples::Examples,
    hopeless, manifest,
    report::{self, Report},
    session::{Advance, Session, Task},
};

// What an epoch's span says.
const EPOCH: &str = "maskline.epoch";
const LEARNING_RATE: &str = "maskline.learning_rate";
const TRAINING_LOSS: &str = "maskline.training.loss";
const VALIDATION_LOSS: &str = "maskline.validation.loss";
const VALIDATION_ACCURACY: &str = "maskline.validation.accuracy";
const IMAGES_PER_SECOND: &str = "maskline.images_per_second";

/// When to stop before the end.
#[derive(Debug, Clone, Default)]
pub struct Halt {
    /// The service is asked to stop: save what was done, and give the run back.
    pub stopping: CancellationToken,
    /// The lease is lost: another trainer has the run, write nothing more.
    pub lost: CancellationToken,
}

impl Halt {
    pub fn is_asked(&self) -> bool {
        self.stopping.is_cancelled() || self.lost.is_cancelled()
    }
}

/// What a run leaves.
pub struct Product {
    pub model: Model,
    /// The network of the best epoch, a safetensors file.
    pub weights: Bytes,
    /// For programs.
    pub report_json: Bytes,
    /// For people.
    pub report_html: Bytes,
}

/// A run and what it is trained with.
pub struct Course {
    pub stores: Stores,
    pub run: Run,
    pub compute: Compute,
    /// What decoded images may take, in bytes.
    pub image_memory: u64,
    pub halt: Halt,
    /// Told of every checkpoint.
    pub progress: LeaseProgress,
}

impl Course {
    /// Trains to the end, on a thread of its own, from the run's checkpoint if it
    /// has one. `None`: the service is asked to stop; a checkpoint is saved.
    ///
    /// [`Hopeless`](crate::hopeless::Hopeless) where no retry helps.
    pub async fn follow(self) -> Result<Option<Product>> {
        let (handle, span) = (Handle::current(), Span::current());
        let training = move || span.in_scope(|| self.train(&handle));
        tokio::task::spawn_blocking(training).await?
    }

    fn train(mut self, handle: &Handle) -> Result<Option<Product>> {
        hopeless::check(&self.run.settings)?;
        let (objects, pixels) = (&self.stores.objects, self.run.settings.pixels);
        let examples = handle.block_on(async {
            let manifest = manifest::read(objects, &self.run.dataset).await?;
            Examples::load(objects, manifest, pixels, self.image_memory).await
        })?;
        self.run.device = Some(self.compute.name.clone());
        let mut session = handle.block_on(self.take_up(&examples))?;
        while !session.is_done() {
            let span = info_span!(
                "epoch",
                // Signed: else it would leave as text.
                { EPOCH } = session.progress().epochs.len() as i64 + 1,
                { LEARNING_RATE } = Empty,
                { TRAINING_LOSS } = Empty,
                { VALIDATION_LOSS } = Empty,
                { VALIDATION_ACCURACY } = Empty,
                { IMAGES_PER_SECOND } = Empty,
            );
            let advance = span.in_scope(|| session.advance(&examples, &self.halt))?;
            if self.halt.lost.is_cancelled() {
                bail!(
                    "the lease on run {} was lost: another trainer has it",
                    self.run.id
                );
            }
            if advance == Advance::Epoch {
                span.in_scope(|| self.tell(&session));
            }
            handle.block_on(self.keep(&session).instrument(span))?;
            if advance == Advance::Halted {
                return Ok(None);
            }
        }
        self.product(&session, &examples)
    }

    fn task(&self, examples: &Examples) -> Task {
        Task {
            network: self.run.network,
            settings: self.run.settings.clone(),
            classes: examples.manifest.classes.clone(),
            device: self.compute.device.clone(),
            device_name: self.compute.name.clone(),
        }
    }

    /// The session as the last checkpoint left it, or a new one.
    async fn take_up(&self, examples: &Examples) -> Result<Session> {
        self.stores.catalog.update_run(&self.run).await?;
        let (run, network) = (self.run.id, self.run.network);
        let (images, device) = (examples.training.len(), &self.compute.name);
        if let Some(snapshot) = checkpoint::load(&self.stores.objects, run).await? {
            let (epochs, step) = (snapshot.progress.epochs.len(), snapshot.progress.step);
            match Session::resume(self.task(examples), snapshot) {
                Ok(session) => {
                    tracing::info!(%run, %network, images, device, epochs, step, "going on from a checkpoint");
                    return Ok(session);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(%run, error, "the checkpoint can't be used: from the beginning");
                }
            }
        }
        tracing::info!(%run, %network, images, device, "training");
        Ok(Session::begin(self.task(examples)))
    }

    /// The epoch just done, to the log and to its span.
    fn tell(&self, session: &Session) {
        let Some(epoch) = session.progress().epochs.last() else {
            return;
        };
        let span = Span::current();
        span.record(LEARNING_RATE, epoch.learning_rate);
        let (training_loss, validation_loss) = (epoch.training.loss, epoch.validation.loss);
        let validation_accuracy = epoch.validation.accuracy;
        span.record(TRAINING_LOSS, training_loss);
        span.record(VALIDATION_LOSS, validation_loss);
        span.record(VALIDATION_ACCURACY, validation_accuracy);
        span.record(IMAGES_PER_SECOND, epoch.images_per_second);
        tracing::info!(
            run = %self.run.id,
            network = %self.run.network,
            epoch = epoch.epoch,
            of = self.run.settings.epochs,
            training_loss = %format_args!("{training_loss:.4}"),
            validation_loss = %format_args!("{validation_loss:.4}"),
            validation_accuracy = %format_args!("{validation_accuracy:.4}"),
            images_per_second = epoch.images_per_second.round(),
            "an epoch is done"
        );
    }

    /// The checkpoint first: the catalog never says more than can be gone on from.
    async fn keep(&mut self, session: &Session) -> Result<()> {
        let snapshot = session.snapshot()?;
        checkpoint::save(&self.stores.objects, self.run.id, &snapshot).await?;
        self.progress.made();
        let best = snapshot.progress.best().map(|epoch| epoch.validation);
        self.run.epoch = u32::try_from(snapshot.progress.epochs.len())?;
        self.run.accuracy = best.map(|score| score.accuracy);
        self.run.loss = best.map(|score| score.loss);
        self.stores.catalog.update_run(&self.run).await?;
        Ok(())
    }

    /// Measures the network as it will be published, read back from its file.
    fn product(&self, session: &Session, examples: &Examples) -> Result<Option<Product>> {
        let weights = session.best().context("no epoch was the best")?.clone();
        let (network, card) = weights::from_safetensors(&weights, &self.compute.device)?;
        let (side, batch) = (card.pixels, self.run.settings.batch as usize);
        let (split, device) = (&examples.validation, &self.compute.device);
        let predictions =
            evaluation::evaluate(&network, examples, split, side, batch, device, &self.halt)?;
        let Some(predictions) = predictions else {
            return Ok(None);
        };
        let report = Report::new(
            &self.run,
            session.progress(),
            &network,
            examples,
            &predictions,
        );
        let thumbnails = report::thumbnails(&report, examples)?;
        let model = Model {
            id: self.run.id,
            dataset: self.run.dataset,
            network: self.run.network,
            classes: card.classes,
            pixels: card.pixels,
            parameters: report.parameters,
            accuracy: report.accuracy,
            loss: report.loss,
            seconds: report.seconds,
            created: now(),
        };
        Ok(Some(Product {
            model,
            weights,
            report_json: serde_json::to_vec_pretty(&report)?.into(),
            report_html: report::page(&report, &thumbnails).into(),
        }))
    }
}
