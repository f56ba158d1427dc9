//! The stage. It takes raw bytes and gives a sound picture of bounded size, or a reason.

use std::{sync::Arc, thread::available_parallelism};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use maskline_faces::FaceDetector;
use maskline_foundation::ByteBudget;
use maskline_messages::{ImageFetched, ImageValidated, ObjectKey};
use maskline_runtime::{Context, Failure, Handler, Outcome};
use maskline_storage::{ObjectStore, StorageError};
use maskline_vision::decode;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    NAME,
    limits::LimitArgs,
    validate::{Accepted, Rejected, decoder_limits, validate},
};

/// How many images each core has in hand, unless `--concurrency` says otherwise. While one
/// is decoded, the others wait for the object store.
const IMAGES_PER_CORE: usize = 4;

/// How many raw bytes may be in memory together.
const MAX_RAW_BYTES: u64 = 24 << 20;

/// Validates images.
pub struct Validator {
    objects: Arc<dyn ObjectStore>,
    limits: LimitArgs,
    /// `None` if faces are not looked for.
    detector: Option<Arc<FaceDetector>>,
    /// The memory for the raw bytes of images.
    raw_bytes: ByteBudget,
    /// The memory that all decoders together may take. One image may take all of it.
    decoders: ByteBudget,
    /// One permit for each core. More threads would only take more memory.
    cores: Semaphore,
}

impl Validator {
    /// Without a detector, faces are not looked for.
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        limits: LimitArgs,
        detector: Option<FaceDetector>,
    ) -> Self {
        Self {
            objects,
            detector: detector.map(Arc::new),
            raw_bytes: ByteBudget::new(MAX_RAW_BYTES),
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
impl Handler for Validator {
    type Message = ImageFetched;

    fn concurrency(&self) -> usize {
        IMAGES_PER_CORE * cores()
    }

    async fn handle(
        &self,
        mut fetched: ImageFetched,
        _context: &Context,
    ) -> Result<Outcome, Failure> {
        fetched.header.arrived_at(NAME);
        let verdict = {
            let _room = self.raw_bytes.room(fetched.bytes).await;
            let bytes = self.objects.get(&fetched.object).await;
            let bytes = bytes.map_err(StorageError::behind)?;
            self.verdict(bytes).await?
        };
        match verdict {
            Ok((accepted, jpeg)) => self.accept(fetched, accepted, jpeg).await,
            Err(Rejected { reason, .. }) => {
                let (candidate, location) = (fetched.header.candidate, fetched.location.shown());
                tracing::debug!(%candidate, location, %reason, "rejected");
                Ok(Outcome::send(fetched.header.reject(NAME, reason)))
            }
        }
    }
}

impl Validator {
    /// The verdict. If the image is accepted, its normalized JPEG comes with it.
    async fn verdict(
        &self,
        bytes: Bytes,
    ) -> Result<Result<(Accepted, Vec<u8>), Rejected>, Failure> {
        let _core = self.cores.acquire().await.expect("never closed");
        let memory = decode::memory(&bytes, &decoder_limits(&self.limits));
        let _room = self.decoders.room(memory).await;
        let (limits, detector) = (self.limits.clone(), self.detector.clone());
        let validated = spawn_blocking(move || {
            validate(&bytes, &limits, detector.as_deref()).map(|accepted| {
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
        let normalized = ObjectKey::normalized(&fetched.header.image);
        self.objects.put(&normalized, jpeg.into()).await?;
        Ok(Outcome::send(ImageValidated {
            header: fetched.header,
            location: fetched.location,
            label: fetched.label,
            normalized,
            width: accepted.picture.width(),
            height: accepted.picture.height(),
            measurements: accepted.measurements,
        }))
    }
}
