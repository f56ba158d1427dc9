//! A dataset that is there already, because the same images were frozen before.

use anyhow::Result;
use bytes::Bytes;
use maskline_dataset::Manifest;
use maskline_messages::ObjectKey;
use maskline_storage::{ObjectStore, StorageError};
use sha2::{Digest, Sha256};

/// The manifest in the object store, if it says what `wanted` does apart from the splits, and
/// if all files of the dataset are there, the shards byte for byte. One shard at a time is in
/// memory.
pub(super) async fn whole_dataset(
    objects: &dyn ObjectStore,
    wanted: &Manifest,
) -> Result<Option<Manifest>> {
    let Some(json) = found(objects, &ObjectKey::manifest(&wanted.dataset)).await? else {
        return Ok(None);
    };
    let Ok(manifest) = Manifest::from_json(&json) else {
        return Ok(None);
    };
    // What was left out of the splits may differ: the images in them are the same.
    let without_splits = Manifest {
        splits: wanted.splits.clone(),
        near_duplicate_groups: wanted.near_duplicate_groups,
        set_aside: wanted.set_aside,
        ..manifest.clone()
    };
    if without_splits != *wanted {
        return Ok(None);
    }
    for key in [
        ObjectKey::dataset_card(&wanted.dataset),
        ObjectKey::dataset_members(&wanted.dataset),
        ObjectKey::dataset_attribution(&wanted.dataset),
    ] {
        if objects.size(&key).await?.is_none() {
            return Ok(None);
        }
    }
    for shard in manifest.splits.values().flat_map(|split| &split.shards) {
        let Ok(key) = manifest.shard_key(shard) else {
            return Ok(None);
        };
        let Some(parquet) = found(objects, &key).await? else {
            return Ok(None);
        };
        let hashing = tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&parquet)));
        if hashing.await? != shard.sha256 {
            tracing::warn!(dataset = %wanted.dataset, file = %shard.file, "a shard is damaged, so the dataset is written anew");
            return Ok(None);
        }
    }
    Ok(Some(manifest))
}

/// The object, if there is one.
async fn found(objects: &dyn ObjectStore, key: &ObjectKey) -> Result<Option<Bytes>, StorageError> {
    match objects.get(key).await {
        Err(error) if error.is_not_found() => Ok(None),
        object => object.map(Some),
    }
}
