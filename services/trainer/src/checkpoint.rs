//! Checkpoints, from which a run is resumed after its trainer stopped, died or lost its
//! lease.
//!
//! A checkpoint is three objects: the network, the optimizer, and an index, which names the
//! others and holds the progress. Each is named after its own
//! content, and the index is written last. So a trainer that dies while it writes leaves
//! the checkpoint before intact. And two trainers of the same run, one of which does not
//! know yet that it has lost its lease, never write over each other.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use maskline_messages::{CheckpointPart, ObjectKey, RunId};
use maskline_storage::{ObjectStore, StorageError};
use serde::{Deserialize, Serialize};

use crate::{learner::Snapshot, metrics::TrainingProgress};

/// The version of the layout of checkpoints. Those of version 1 have the best network so far besides.
const VERSION: u32 = 2;

/// The number of keys that are listed at a time.
const PAGE: usize = 1000;

/// What a checkpoint consists of.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    version: u32,
    network: ObjectKey,
    optimizer: ObjectKey,
    progress: TrainingProgress,
}

impl Index {
    fn names(&self, key: &ObjectKey) -> bool {
        [&self.network, &self.optimizer].contains(&key)
    }
}

/// Saves a checkpoint, and then removes the earlier ones of the run.
pub(crate) async fn save(
    objects: &Arc<dyn ObjectStore>,
    run: RunId,
    snapshot: &Snapshot,
) -> Result<()> {
    let index = Index {
        version: VERSION,
        network: put(objects, run, CheckpointPart::Network, &snapshot.network).await?,
        optimizer: put(objects, run, CheckpointPart::Optimizer, &snapshot.optimizer).await?,
        progress: snapshot.progress.clone(),
    };
    let part = CheckpointPart::Index {
        epochs: index.progress.epochs.len(),
        steps: index.progress.step,
    };
    let json = Bytes::from(serde_json::to_vec(&index)?);
    let written = put(objects, run, part, &json).await?;
    remove(objects, run, |key| *key != written && !index.names(key)).await
}

async fn put(
    objects: &Arc<dyn ObjectStore>,
    run: RunId,
    part: CheckpointPart,
    content: &Bytes,
) -> Result<ObjectKey, StorageError> {
    let key = ObjectKey::checkpoint(run, part, content);
    objects.put(&key, content.clone()).await?;
    Ok(key)
}

/// Loads the latest complete checkpoint of a run.
pub(crate) async fn load(objects: &Arc<dyn ObjectStore>, run: RunId) -> Result<Option<Snapshot>> {
    let keys = keys(objects, run).await?;
    for key in keys.iter().rev().filter(|key| key.is_checkpoint_index()) {
        match read(objects, key).await {
            Ok(Some(snapshot)) => return Ok(Some(snapshot)),
            Ok(None) => tracing::warn!(%key, "a checkpoint of a later version is skipped"),
            // Another trainer of the run has removed a part of it.
            Err(missing) if missing.is_not_found() => {
                tracing::warn!(%key, %missing, "an incomplete checkpoint is skipped");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Returns `None` if the checkpoint is of a later version.
async fn read(
    objects: &Arc<dyn ObjectStore>,
    key: &ObjectKey,
) -> Result<Option<Snapshot>, StorageError> {
    let Ok(index) = serde_json::from_slice::<Index>(&objects.get(key).await?) else {
        return Ok(None);
    };
    if index.version > VERSION {
        return Ok(None);
    }
    Ok(Some(Snapshot {
        network: objects.get(&index.network).await?,
        optimizer: objects.get(&index.optimizer).await?,
        progress: index.progress,
    }))
}

/// Removes all checkpoints of a run that has ended.
pub(crate) async fn clear(objects: &Arc<dyn ObjectStore>, run: RunId) -> Result<()> {
    remove(objects, run, |_| true).await
}

/// Removes the unwanted objects of a run. Indexes go first, so that every index that is left
/// names objects that exist.
async fn remove(
    objects: &Arc<dyn ObjectStore>,
    run: RunId,
    unwanted: impl Fn(&ObjectKey) -> bool,
) -> Result<()> {
    let mut unwanted: Vec<ObjectKey> = keys(objects, run)
        .await?
        .into_iter()
        .filter(unwanted)
        .collect();
    unwanted.sort_by_key(|key| !key.is_checkpoint_index());
    for key in unwanted {
        objects.delete(&key).await?;
    }
    Ok(())
}

async fn keys(objects: &Arc<dyn ObjectStore>, run: RunId) -> Result<Vec<ObjectKey>, StorageError> {
    let mut keys: Vec<ObjectKey> = vec![];
    loop {
        let folder = ObjectKey::checkpoints(run);
        let page = objects.list(&folder, keys.last(), PAGE).await?;
        let last = page.len() < PAGE;
        keys.extend(page);
        if last {
            return Ok(keys);
        }
    }
}

#[cfg(test)]
mod tests;
