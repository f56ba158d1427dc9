//! A freezer that is stopped while it writes a dataset.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::ObjectKey;
use maskline_runtime::{WorkContext, Worker};
use maskline_storage::{ObjectStore, StorageError, Upload, lease::LeaseWatch, records::JobState};
use maskline_storer::freeze::Freezer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;

#[tokio::test]
async fn a_stopped_freezer_gives_the_job_back_and_another_freezes_it() {
    let environment = Environment::new().await;
    let (job, candidates) = environment.job(20).await;
    for (number, candidate) in candidates.iter().enumerate() {
        environment.store(job, *candidate, number as u64).await;
    }
    environment.expanded(job).await;
    let stuck = Arc::new(Stuck::default());
    let stopped = Freezer {
        objects: stuck.clone(),
        collections: environment.stores.catalog.clone(),
        jobs: environment.stores.catalog.clone(),
        candidates: environment.stores.catalog.clone(),
        images: environment.stores.catalog.clone(),
        removals: environment.stores.catalog.clone(),
        leases: LeaseWatch::new(environment.stores.catalog.clone()),
        progress: Arc::default(),
    };
    // The environment's own freezer is not asked to stop.
    let context = WorkContext {
        stopping: CancellationToken::new(),
        ..environment.context.clone()
    };
    let stop = async {
        stuck.writing.notified().await;
        context.stopping.cancel();
    };
    let (worked, ()) = tokio::join!(stopped.work(&context), stop);
    worked.unwrap();
    assert_eq!(environment.state(job).await.state, JobState::Running);
    let open = environment
        .stores
        .catalog
        .open_work("freeze")
        .await
        .unwrap();
    assert_eq!(open[0].owner, None, "it can be taken at once");

    assert!(environment.freeze().await);
    assert_eq!(environment.state(job).await.state, JobState::Frozen);
}

/// An object store in which no write ever finishes.
#[derive(Default)]
struct Stuck {
    writing: Notify,
}

#[async_trait]
impl ObjectStore for Stuck {
    async fn put(&self, _: &ObjectKey, _: Bytes) -> Result<(), StorageError> {
        self.writing.notify_one();
        std::future::pending().await
    }

    async fn upload(&self, _: &ObjectKey) -> Result<Box<dyn Upload + '_>, StorageError> {
        self.writing.notify_one();
        std::future::pending().await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StorageError> {
        Err(StorageError::not_found(key))
    }

    async fn size(&self, _: &ObjectKey) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }

    async fn delete(&self, _: &ObjectKey) -> Result<(), StorageError> {
        Ok(())
    }

    async fn list(
        &self,
        _: &str,
        _: Option<&ObjectKey>,
        _: usize,
    ) -> Result<Vec<ObjectKey>, StorageError> {
        Ok(vec![])
    }

    async fn ping(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn locate(&self, key: &ObjectKey) -> String {
        key.to_string()
    }
}
