//! Deletes what is left of images that a person removed, and of versions that hold them.

use futures::{StreamExt, TryStreamExt, stream};
use maskline_messages::{
    CandidateId, CollectionName, DatasetId, ImageId, LocationId, ObjectKey, Reason,
};

use crate::{args::Stores, error::StorageError, membership::Sources, objects::ObjectStore};

/// How many images' objects are deleted at the same time.
const DELETING: usize = 16;

/// How many keys are listed at a time.
const LISTED: usize = 1_000;

/// Deletes the documents of removed images, and their raw and normalized objects. Returns for how
/// many images the objects stay, because another collection has them, too.
pub async fn purge_images(
    stores: &Stores,
    collection: &CollectionName,
    images: &[ImageId],
) -> Result<u64, StorageError> {
    stores.catalog.delete_images(collection, images).await?;
    let mut deleting = Vec::with_capacity(images.len());
    for image in images {
        deleting.push(delete_objects(stores, collection, image));
    }
    let deleting = stream::iter(deleting).buffer_unordered(DELETING);
    let kept = deleting.try_filter(|is_deleted| std::future::ready(!is_deleted));
    Ok(kept.try_collect::<Vec<_>>().await?.len() as u64)
}

/// Returns `false` if another collection has the image.
async fn delete_objects(
    stores: &Stores,
    collection: &CollectionName,
    image: &ImageId,
) -> Result<bool, StorageError> {
    if stores.catalog.is_elsewhere(collection, image).await? {
        return Ok(false);
    }
    stores.objects.delete(&ObjectKey::raw(image)).await?;
    stores.objects.delete(&ObjectKey::normalized(image)).await?;
    Ok(true)
}

/// Deletes what a message about a candidate left behind that had been removed before the message
/// came, if nothing may be left of it. The stages that the image was at did not know.
pub async fn purge_latecomer(
    stores: &Stores,
    candidate: CandidateId,
    image: &ImageId,
) -> Result<(), StorageError> {
    let catalog = &stores.catalog;
    let Some(found) = catalog.candidate(candidate).await? else {
        return Ok(());
    };
    if found.reason != Some(Reason::Removed) {
        return Ok(());
    }
    let collection = &found.collection;
    let images = [*image];
    match catalog.removal(collection, image).await? {
        Some(removal) => {
            // Perhaps nobody knew of this location.
            let places = [LocationId::of(&found.location)];
            catalog.remove_places(collection, &places).await?;
            if !removal.purged {
                return Ok(());
            }
        }
        None => {
            let job = catalog.job(found.job).await?;
            if job.is_none_or(|job| !job.purged) || is_of_others(stores, collection, image).await? {
                return Ok(());
            }
            catalog.remove_images(collection, &images, true).await?;
        }
    }
    tracing::info!(%candidate, %image, "it came after it was removed, and is purged");
    purge_images(stores, collection, &images).await?;
    catalog.erase_images(collection, &images).await?;
    catalog.wipe_deleted().await
}

/// Says whether a source that counts has the image.
async fn is_of_others(
    stores: &Stores,
    collection: &CollectionName,
    image: &ImageId,
) -> Result<bool, StorageError> {
    let catalog = &*stores.catalog;
    let jobs = catalog.jobs_of(collection).await?;
    let sources = Sources::among(&jobs, catalog).await?;
    let sightings = catalog.sightings(collection, &[*image]).await?;
    Ok(sources.membership(&sightings.concat()).is_some())
}

/// Deletes the objects of a dataset, the manifest first, so that nobody takes it for whole. The
/// list of its members stays if `keep_members`, because later versions keep the splits by it.
pub async fn delete_dataset(
    objects: &dyn ObjectStore,
    dataset: &DatasetId,
    keep_members: bool,
) -> Result<(), StorageError> {
    objects.delete(&ObjectKey::manifest(dataset)).await?;
    let members = ObjectKey::dataset_members(dataset);
    let folder = ObjectKey::dataset(dataset);
    let mut after = None;
    loop {
        let listed = objects.list(&folder, after.as_ref(), LISTED).await?;
        for key in &listed {
            if !(keep_members && *key == members) {
                objects.delete(key).await?;
            }
        }
        if listed.len() < LISTED {
            return Ok(());
        }
        after = listed.into_iter().last();
    }
}
