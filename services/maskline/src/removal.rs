//! Removing a source, an image or an address from a collection.
//!
//! The order of the steps makes it safe to die between any two of them, and to run beside the
//! services. First it is recorded what is removed, which also opens the collection: a plan that was
//! made before that becomes no version any more. Then the versions are looked at, so that one that
//! was recorded just before is among them. If nothing may be left, the documents and objects are
//! deleted after that, and what the candidates were is forgotten last, because whoever runs this
//! again finds the images by them.
//!
//! * `sources`, `images`: what is removed.
//! * `versions`: the versions that hold it.

mod images;
mod sources;
mod versions;

use anyhow::Result;
use maskline_messages::{CollectionName, ImageId, JobId, VersionName};
use maskline_storage::{Stores, membership::Sources, purge::purge_images};
use serde::Serialize;

pub(crate) use images::{image, url};
pub(crate) use sources::source;

/// How many images or candidates are read at a time.
const PAGE: usize = 1_000;

/// What a person wants.
pub(crate) struct Wish {
    pub(crate) collection: CollectionName,
    /// Whether nothing may be left of the images but that they were removed.
    pub(crate) purge: bool,
    /// Whether versions that hold the images are deleted.
    pub(crate) versions: bool,
}

/// What was removed. `maskline remove --json` prints it as a line.
#[derive(Debug, Serialize)]
pub(crate) struct Removal {
    pub(crate) collection: CollectionName,
    /// The jobs of the source.
    pub(crate) jobs: Vec<JobId>,
    /// The number of images that left the collection.
    pub(crate) images: u64,
    /// The number of candidates that had not come to an end.
    pub(crate) on_their_way: u64,
    /// The number of images whose objects stay, because another collection has them.
    pub(crate) kept_objects: u64,
    /// The versions that hold the images, or held them.
    pub(crate) versions: Vec<VersionName>,
    pub(crate) versions_deleted: bool,
}

/// Looks at the versions, and deletes what nobody may have any more of removed images.
async fn finish(
    stores: &Stores,
    wish: &Wish,
    images: &[ImageId],
    jobs: Vec<JobId>,
    on_their_way: u64,
) -> Result<Removal> {
    let versions = versions::holding(stores, &wish.collection, images).await?;
    if wish.versions {
        versions::delete(stores, &wish.collection, &versions).await?;
    }
    versions::clean_deleted(stores, &wish.collection).await?;
    let mut kept_objects = 0;
    if wish.purge {
        versions::clean_unfinished(stores, &wish.collection).await?;
        for batch in images.chunks(PAGE) {
            kept_objects += purge_images(stores, &wish.collection, batch).await?;
        }
    }
    Ok(Removal {
        collection: wish.collection.clone(),
        jobs,
        images: images.len() as u64,
        on_their_way,
        kept_objects,
        versions,
        versions_deleted: wish.versions,
    })
}

/// Says whether the collection has an image that these sources count, besides `images`, which are
/// sorted.
async fn has_others(
    stores: &Stores,
    collection: &CollectionName,
    sources: &Sources,
    images: &[ImageId],
) -> Result<bool> {
    let mut after = None;
    loop {
        let page = stores
            .catalog
            .image_facts(collection, after.as_ref(), PAGE)
            .await?;
        let mut others = page
            .iter()
            .filter(|facts| images.binary_search(&facts.image).is_err());
        if others.any(|facts| sources.membership(&facts.sightings).is_some()) {
            return Ok(true);
        }
        if page.len() < PAGE {
            return Ok(false);
        }
        after = page.last().map(|facts| facts.image);
    }
}
