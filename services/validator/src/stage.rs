//! The stage. It takes raw bytes and gives a sound picture of bounded size, or a reason.

use std::sync::Arc;

use async_trait::async_trait;
use maskline_foundation::ByteBudget;
use maskline_messages::{ImageFetched, ImageValidated, ObjectKey};
use maskline_runtime::{Context, Failure, Handler, Outcome};
use maskline_storage::{ObjectStore, StorageError};

use crate::{
    NAME,
    sandboxed::{Normalized, SandboxedValidator},
    validate::Rejected,
};

/// How many images each worker has in hand, unless `--concurrency` says otherwise. While one
/// is decoded, the others wait for the object store.
const IMAGES_PER_WORKER: usize = 4;

/// How many raw bytes may be in memory together.
const MAX_RAW_BYTES: u64 = 24 << 20;

/// Validates images. It decodes none itself: that is for its workers.
pub struct Validator {
    objects: Arc<dyn ObjectStore>,
    workers: SandboxedValidator,
    /// The memory for the raw bytes of images.
    raw_bytes: ByteBudget,
}

impl Validator {
    pub fn new(objects: Arc<dyn ObjectStore>, workers: SandboxedValidator) -> Self {
        Self {
            objects,
            workers,
            raw_bytes: ByteBudget::new(MAX_RAW_BYTES),
        }
    }
}

#[async_trait]
impl Handler for Validator {
    type Message = ImageFetched;

    fn concurrency(&self) -> usize {
        IMAGES_PER_WORKER * self.workers.workers()
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
            let verdict = self.workers.validate(bytes).await;
            // Every image needs a worker.
            verdict.map_err(Failure::outage)?
        };
        match verdict {
            Ok(normalized) => self.accept(fetched, normalized).await,
            Err(Rejected { reason, .. }) => {
                let (candidate, location) = (fetched.header.candidate, fetched.location.shown());
                tracing::debug!(%candidate, location, %reason, "rejected");
                Ok(Outcome::send(fetched.header.reject(NAME, reason)))
            }
        }
    }
}

impl Validator {
    async fn accept(
        &self,
        fetched: ImageFetched,
        normalized: Normalized,
    ) -> Result<Outcome, Failure> {
        let object = ObjectKey::normalized(&fetched.header.image);
        self.objects.put(&object, normalized.jpeg).await?;
        Ok(Outcome::send(ImageValidated {
            header: fetched.header,
            location: fetched.location,
            label: fetched.label,
            normalized: object,
            width: normalized.width,
            height: normalized.height,
            measurements: normalized.measurements,
        }))
    }
}
