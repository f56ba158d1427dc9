//! The versions that hold removed images.
//!
//! A version that is deleted keeps its record and the list of its members, by which later versions
//! keep the splits of the images that are left. The list says nothing of images that were removed,
//! unless only their source was, because then they may come back with another one.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use maskline_dataset::{MEMBERS_GROUP, Member, MembersWriter, read_members};
use maskline_messages::{CollectionName, DatasetId, ImageId, ObjectKey, VersionName};
use maskline_storage::{
    Stores,
    purge::delete_dataset,
    records::{Collection, Version},
};

use super::PAGE;
use crate::lookup;

/// The versions that are not deleted and have one of the images, which are sorted.
pub(super) async fn holding(
    stores: &Stores,
    name: &CollectionName,
    images: &[ImageId],
) -> Result<Vec<VersionName>> {
    let collection = lookup::collection(&*stores.catalog, name).await?;
    let mut holding = vec![];
    for version in collection
        .versions
        .iter()
        .filter(|version| !version.deleted)
    {
        let members = members(stores, &version.dataset).await?;
        let members = members.with_context(|| {
            let name = collection.version_name(version.number);
            format!("{name} has lost the list of its members, so nobody knows what it holds")
        })?;
        let holds =
            |member: &Member| member.label.is_some() && images.binary_search(&member.image).is_ok();
        if members.iter().any(holds) {
            holding.push(collection.version_name(version.number));
        }
    }
    Ok(holding)
}

/// Records that versions are deleted. That comes first, so that nobody begins to read them.
pub(super) async fn delete(
    stores: &Stores,
    name: &CollectionName,
    versions: &[VersionName],
) -> Result<()> {
    for version in versions {
        stores.catalog.delete_version(name, version.number).await?;
    }
    Ok(())
}

/// Deletes the objects of the versions that are deleted, and the report pages of the models that
/// were trained on them, because those show pictures. It also takes the images that can never come
/// back out of their lists of members. This also does what a process left undone that was killed.
pub(super) async fn clean_deleted(stores: &Stores, name: &CollectionName) -> Result<()> {
    let collection: Collection = lookup::collection(&*stores.catalog, name).await?;
    let deleted: Vec<&Version> = collection
        .versions
        .iter()
        .filter(|version| version.deleted)
        .collect();
    if deleted.is_empty() {
        return Ok(());
    }
    let removed = removed(stores, name).await?;
    let models = stores.catalog.models(lookup::ALL).await?;
    for version in deleted {
        delete_dataset(&*stores.objects, &version.dataset, true).await?;
        let of_version = models
            .iter()
            .filter(|model| model.dataset == version.dataset);
        for model in of_version {
            let page = ObjectKey::model_report_page(model.id);
            stores.objects.delete(&page).await?;
        }
        let Some(mut members) = members(stores, &version.dataset).await? else {
            continue;
        };
        let before = members.len();
        members.retain(|member| removed.binary_search(&member.image).is_err());
        if members.len() < before {
            let key = ObjectKey::dataset_members(&version.dataset);
            let file = written(&members)?;
            stores.objects.put(&key, file.into()).await?;
        }
    }
    Ok(())
}

/// Deletes the datasets that are no version and have an image that was removed: a storer was killed
/// while it wrote them. No storer ever writes one of the same id again, because none plans with
/// such an image any more.
pub(super) async fn clean_unfinished(stores: &Stores, name: &CollectionName) -> Result<()> {
    let removed = removed(stores, name).await?;
    let mut versions: BTreeSet<String> = BTreeSet::new();
    for collection in stores.catalog.collections(lookup::ALL).await? {
        let datasets = collection.versions.iter().map(|version| version.dataset);
        versions.extend(datasets.map(|dataset| dataset.to_string()));
    }
    let mut after = None;
    loop {
        let listed = stores
            .objects
            .list("datasets", after.as_ref(), PAGE)
            .await?;
        for key in listed
            .iter()
            .filter(|key| key.as_str().ends_with(".parquet"))
        {
            let dataset = key.as_str().split('/').nth(1).unwrap_or_default();
            let Ok(id) = dataset.parse::<DatasetId>() else {
                continue;
            };
            if !versions.contains(dataset) && holds(stores, key, &removed).await? {
                delete_dataset(&*stores.objects, &id, false).await?;
            }
        }
        if listed.len() < PAGE {
            return Ok(());
        }
        after = listed.into_iter().last();
    }
}

/// Says whether a shard has one of the images, which are sorted.
async fn holds(stores: &Stores, shard: &ObjectKey, images: &[ImageId]) -> Result<bool> {
    let file = match stores.objects.get(shard).await {
        // It went with the shard before it.
        Err(error) if error.is_not_found() => return Ok(false),
        file => file?,
    };
    // What can't be read as a shard is the list of members.
    let rows = maskline_dataset::read(file, usize::MAX).unwrap_or_default();
    Ok(rows
        .iter()
        .any(|row| images.binary_search(&row.image).is_ok()))
}

/// The images that were removed from the collection, sorted.
async fn removed(stores: &Stores, name: &CollectionName) -> Result<Vec<ImageId>> {
    let mut removed: Vec<ImageId> = vec![];
    loop {
        let page = stores.catalog.removed_images(name, removed.last(), PAGE);
        let page = page.await?;
        let is_last = page.len() < PAGE;
        removed.extend(page);
        if is_last {
            return Ok(removed);
        }
    }
}

/// The members of a version. `None` if the list is not there.
async fn members(stores: &Stores, dataset: &DatasetId) -> Result<Option<Vec<Member>>> {
    let key = ObjectKey::dataset_members(dataset);
    let file = match stores.objects.get(&key).await {
        Err(error) if error.is_not_found() => return Ok(None),
        file => file?,
    };
    let mut members = vec![];
    read_members(file, |member| members.push(member))
        .with_context(|| format!("the members of dataset {dataset}"))?;
    Ok(Some(members))
}

fn written(members: &[Member]) -> Result<Vec<u8>> {
    let mut writer = MembersWriter::new()?;
    let mut file = vec![];
    for group in members.chunks(MEMBERS_GROUP) {
        file.extend_from_slice(&writer.write(group)?);
    }
    file.extend_from_slice(&writer.finish()?);
    Ok(file)
}
