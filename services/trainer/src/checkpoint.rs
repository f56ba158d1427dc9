//! What a run goes on from after its trainer stopped, was killed or lost its lease.
//!
//! A checkpoint is a few objects under `runs/<run>/`, each named after its own
//! content: the network, the optimizer, the best network so far, and last an
//! index that names them and holds the progress. So a trainer that is killed
//! while writing leaves the checkpoint before, whole, and two trainers of one
//! run (one of them has lost its lease and does not know it yet) never write
//! over each other.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use maskline_messages::{CheckpointPart, ObjectKey, RunId};
use maskline_storage::{ObjectStore, StorageError};
use serde::{Deserialize, Serialize};

use crate::session::{Progress, Snapshot};

/// The version of the checkpoints' layout.
const VERSION: u32 = 1;

/// Keys that are asked for at a time.
const PAGE: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    version: u32,
    network: ObjectKey,
    optimizer: ObjectKey,
    best: Option<ObjectKey>,
    progress: Progress,
}

impl Index {
    fn names(&self, key: &ObjectKey) -> bool {
        [
            Some(&self.network),
            Some(&self.optimizer),
            self.best.as_ref(),
        ]
        .contains(&Some(key))
    }
}

/// Writes a checkpoint, and then removes the run's earlier ones.
pub async fn save(objects: &Arc<dyn ObjectStore>, run: RunId, snapshot: &Snapshot) -> Result<()> {
    let best = match &snapshot.best {
        Some(best) => Some(put(objects, run, CheckpointPart::BestNetwork, best).await?),
        None => None,
    };
    let index = Index {
        version: VERSION,
        network: put(objects, run, CheckpointPart::Network, &snapshot.network).await?,
        optimizer: put(objects, run, CheckpointPart::Optimizer, &snapshot.optimizer).await?,
        best,
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

/// The run's latest whole checkpoint.
pub async fn load(objects: &Arc<dyn ObjectStore>, run: RunId) -> Result<Option<Snapshot>> {
    let keys = keys(objects, run).await?;
    for key in keys.iter().rev().filter(|key| key.is_checkpoint_index()) {
        match read(objects, key).await {
            Ok(Some(snapshot)) => return Ok(Some(snapshot)),
            Ok(None) => tracing::warn!(%key, "a checkpoint of another version is passed over"),
            // Another trainer of this run has removed part of it.
            Err(missing) if missing.is_not_found() => {
                tracing::warn!(%key, %missing, "a checkpoint that is not whole is passed over");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

async fn read(
    objects: &Arc<dyn ObjectStore>,
    key: &ObjectKey,
) -> Result<Option<Snapshot>, StorageError> {
    let Ok(index) = serde_json::from_slice::<Index>(&objects.get(key).await?) else {
        return Ok(None);
    };
    if index.version != VERSION {
        return Ok(None);
    }
    let best = match &index.best {
        Some(best) => Some(objects.get(best).await?),
        None => None,
    };
    Ok(Some(Snapshot {
        network: objects.get(&index.network).await?,
        optimizer: objects.get(&index.optimizer).await?,
        best,
        progress: index.progress,
    }))
}

/// Removes all checkpoints of a run that needs none any more.
pub async fn clear(objects: &Arc<dyn ObjectStore>, run: RunId) -> Result<()> {
    remove(objects, run, |_| true).await
}

/// Indexes first: what is left at any moment is whole.
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
mod tests {
    use maskline_messages::{DatasetId, NetworkName};
    use maskline_models::prediction::{Score, Tally};

    use super::*;
    use crate::{fixtures::Store, session::Epoch};

    fn run() -> RunId {
        RunId::of(&DatasetId::of(b"a dataset"), NetworkName::MobilenetV2, "{}")
    }

    fn snapshot(epochs: usize, step: usize, content: &str) -> Snapshot {
        let score = |loss| Score {
            accuracy: 0.1 + 0.2,
            loss,
        };
        let epoch = |index| Epoch {
            epoch: index + 1,
            learning_rate: 1.0 / 3.0,
            training: score(1.0 / 3.0),
            validation: score(f32::MIN_POSITIVE),
            images_per_second: 130.5,
            device: "cpu".to_owned(),
        };
        Snapshot {
            progress: Progress {
                epochs: (0..epochs).map(epoch).collect(),
                step,
                tally: Tally {
                    images: 3,
                    right: 2,
                    loss: 0.5,
                },
                training_seconds: 0.25,
                seconds: 2.5,
            },
            network: Bytes::from(format!("network {content}")),
            optimizer: Bytes::from(format!("optimizer {content}")),
            best: (epochs > 0).then(|| Bytes::from(format!("best {content}"))),
        }
    }

    #[tokio::test]
    async fn the_latest_is_found_as_it_was_saved_and_earlier_ones_are_gone() {
        let store = Store::new().await;
        assert_eq!(load(&store.objects, run()).await.unwrap(), None);
        for (epochs, step) in [(0, 5), (1, 0), (1, 12), (2, 0), (10, 0)] {
            let saved = snapshot(epochs, step, &format!("{epochs} {step}"));
            save(&store.objects, run(), &saved).await.unwrap();
            assert_eq!(load(&store.objects, run()).await.unwrap(), Some(saved));
        }
        assert_eq!(keys(&store.objects, run()).await.unwrap().len(), 4);
        clear(&store.objects, run()).await.unwrap();
        assert!(keys(&store.objects, run()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_trainer_that_was_killed_while_writing_leaves_the_checkpoint_before() {
        let store = Store::new().await;
        let whole = snapshot(1, 0, "whole");
        save(&store.objects, run(), &whole).await.unwrap();
        // The objects of the next are there, its index is not.
        let half = ObjectKey::checkpoint(run(), CheckpointPart::Network, b"half");
        store
            .objects
            .put(&half, Bytes::from_static(b"half"))
            .await
            .unwrap();
        assert_eq!(load(&store.objects, run()).await.unwrap(), Some(whole));
        save(&store.objects, run(), &snapshot(2, 0, "next"))
            .await
            .unwrap();
        assert_eq!(store.objects.size(&half).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_not_whole_or_not_ours_is_passed_over() {
        let store = Store::new().await;
        let whole = snapshot(1, 0, "whole");
        save(&store.objects, run(), &whole).await.unwrap();
        let missing = ObjectKey::checkpoint(run(), CheckpointPart::Network, b"gone");
        let index = Index {
            version: VERSION,
            network: missing.clone(),
            optimizer: missing,
            best: None,
            progress: Progress::default(),
        };
        let later = [
            (2, serde_json::to_vec(&index).unwrap()),
            (3, br#"{"version":2}"#.to_vec()),
        ];
        for (epochs, json) in later {
            let part = CheckpointPart::Index { epochs, steps: 0 };
            let key = ObjectKey::checkpoint(run(), part, &json);
            store.objects.put(&key, json.into()).await.unwrap();
        }
        assert_eq!(load(&store.objects, run()).await.unwrap(), Some(whole));
    }
}
