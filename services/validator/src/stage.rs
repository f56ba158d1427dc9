//! The stage: raw bytes in, a sound and bounded picture or a reason out.

use std::{sync::Arc, thread::available_parallelism};

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use bytes::Bytes;
use maskline_foundation::ByteBudget;
use maskline_messages::{
    Hop, ImageFetched, ImageRejected, ImageValidated, Message, ObjectKey, Queue, Reason,
};
use maskline_runtime::{Context, Failure, Intake, Outcome, Stage};
use maskline_storage::{ObjectStore, StorageError};
use maskline_vision::decode;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    NAME,
    limits::LimitArgs,
    validate::{Accepted, Rejected, decoder_limits, validate},
};

/// Images in hand for each core, unless asked otherwise: while one is decoded
/// others wait for the stores.
const IMAGES_PER_CORE: usize = 4;

/// Raw bytes in hand together.
const FILES: u64 = 24 << 20;

/// Validates images.
pub struct Validator {
    objects: Arc<dyn ObjectStore>,
    limits: LimitArgs,
    files: ByteBudget,
    /// What the decoders may take together; one image may take all of it.
    decoders: ByteBudget,
    /// More threads than these would only take more memory.
    cores: Semaphore,
}

impl Validator {
    pub fn new(objects: Arc<dyn ObjectStore>, limits: LimitArgs) -> Self {
        Self {
            objects,
            files: ByteBudget::new(FILES),
            decoders: ByteBudget::new(decoder_limits(&limits).memory),
            cores: Semaphore::new(cores()),
            limits,
        }
    }
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

#[async_trait]
impl Stage for Validator {
    fn name(&self) -> &'static str {
        NAME
    }

    fn intakes(&self) -> Vec<Intake> {
        vec![Intake {
            queue: Queue::ValidatorImages,
            concurrency: IMAGES_PER_CORE * cores(),
        }]
    }

    async fn handle(&self, message: Message, _context: &Context) -> Result<Outcome, Failure> {
        let Message::ImageFetched(mut fetched) = message else {
            return Err(Failure::poison(anyhow!(
                "the validator has no use for {}",
                message.key()
            )));
        };
        fetched.history.push(Hop::now(NAME));
        let verdict = {
            let _room = self.files.room(fetched.bytes).await;
            let bytes = self.objects.get(&fetched.object).await;
            let bytes = bytes.map_err(StorageError::behind)?;
            self.verdict(bytes).await?
        };
        match verdict {
            Ok((accepted, jpeg)) => self.accept(fetched, accepted, jpeg).await,
            Err(rejected) => Ok(Outcome::send(rejection(fetched, rejected.reason))),
        }
    }
}

impl Validator {
    /// The verdict, and the normalized JPEG of what is accepted.
    async fn verdict(
        &self,
        bytes: Bytes,
    ) -> Result<Result<(Accepted, Vec<u8>), Rejected>, Failure> {
        let _core = self.cores.acquire().await.expect("never closed");
        let memory = decode::memory(&bytes, &decoder_limits(&self.limits));
        let _room = self.decoders.room(memory).await;
        let limits = self.limits.clone();
        let validated = spawn_blocking(move || {
            validate(&bytes, &limits).map(|accepted| {
                let jpeg = accepted.jpeg();
                (accepted, jpeg)
            })
        });
        validated
            .await
            .context("the checks failed on this image")
            .map_err(Failure::poison)
    }

    async fn accept(
        &self,
        fetched: ImageFetched,
        accepted: Accepted,
        jpeg: Vec<u8>,
    ) -> Result<Outcome, Failure> {
        let normalized = ObjectKey::normalized(&fetched.image);
        self.objects.put(&normalized, jpeg.into()).await?;
        Ok(Outcome::send(ImageValidated {
            normalized,
            width: accepted.picture.width(),
            height: accepted.picture.height(),
            measurements: accepted.measurements,
            fetched,
        }))
    }
}

fn rejection(fetched: ImageFetched, reason: Reason) -> ImageRejected {
    tracing::debug!(candidate = %fetched.candidate, location = fetched.location.shown(), %reason, "rejected");
    ImageRejected {
        job: fetched.job,
        candidate: fetched.candidate,
        image: Some(fetched.image),
        stage: NAME.to_owned(),
        reason,
        history: fetched.history,
    }
}
