//! Finding what a person means by a name or by the beginning of an id.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use maskline_messages::{CollectionName, DatasetId, JobId, VersionName};
use maskline_storage::{Catalog, records::Collection};

/// The limit of a listing that is to hold everything.
pub(crate) const ALL: usize = usize::MAX;

/// Finds the one of `ids` that begins with `prefix`.
///
/// Errors call it a `kind`, such as `job`, and name `list_command`, which lists all.
pub(crate) fn by_prefix<T: ToString>(
    prefix: &str,
    kind: &str,
    list_command: &str,
    ids: impl IntoIterator<Item = T>,
) -> Result<T> {
    let mut found: Vec<T> = ids
        .into_iter()
        .filter(|id| id.to_string().starts_with(prefix))
        .collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("there is no {kind} {prefix}: `{list_command}` lists them"),
        many => bail!("{many} {kind}s begin with {prefix}: give more of the id"),
    }
}

/// Finds a collection.
pub(crate) async fn collection(catalog: &dyn Catalog, name: &CollectionName) -> Result<Collection> {
    let collection = catalog.collection(name).await?;
    collection.with_context(|| {
        format!("there is no collection {name}: `maskline collections` lists them")
    })
}

/// Finds a dataset: a version of a collection (`NAME@N`), the newest version of a collection
/// (`NAME`), or the dataset whose id begins with the text.
pub(crate) async fn dataset(catalog: &dyn Catalog, text: &str) -> Result<DatasetId> {
    if let Ok(version) = text.parse::<VersionName>() {
        let collection = collection(catalog, &version.collection).await?;
        let mut versions = collection.versions.iter();
        let found = versions.find(|found| found.number == version.number);
        return match (found, collection.latest()) {
            (Some(found), _) if found.deleted => bail!("{version} was deleted"),
            (Some(found), _) => Ok(found.dataset),
            (None, Some(latest)) => bail!(
                "there is no {version}: the newest version is {}",
                collection.version_name(latest.number)
            ),
            (None, None) => bail!("there is no {version}: the collection was never frozen"),
        };
    }
    if let Ok(name) = text.parse::<CollectionName>()
        && let Some(collection) = catalog.collection(&name).await?
    {
        return match (collection.latest_kept(), collection.latest()) {
            (Some(latest), _) => Ok(latest.dataset),
            (None, Some(_)) => bail!(
                "every version of {name} was deleted: `maskline freeze {name}` makes another one"
            ),
            (None, None) => {
                bail!("the collection {name} was never frozen: `maskline freeze {name}` does that")
            }
        };
    }
    let datasets = catalog.datasets(ALL).await?;
    let ids = datasets.iter().map(|dataset| dataset.id);
    let found = by_prefix(text, "dataset", "maskline datasets", ids)?;
    for collection in catalog.collections(ALL).await? {
        let mut versions = collection.versions.iter();
        if let Some(version) = versions.find(|version| version.dataset == found && version.deleted)
        {
            bail!(
                "dataset {found} was deleted: it was {}",
                collection.version_name(version.number)
            );
        }
    }
    Ok(found)
}

/// The version that a dataset is.
pub(crate) struct VersionOf {
    pub(crate) name: VersionName,
    /// Its objects were deleted, and so were the pages of the reports on it.
    pub(crate) deleted: bool,
}

/// The versions of all collections by their datasets.
pub(crate) async fn versions(catalog: &dyn Catalog) -> Result<BTreeMap<DatasetId, VersionOf>> {
    let mut versions = BTreeMap::new();
    for collection in catalog.collections(ALL).await? {
        for version in &collection.versions {
            let name = collection.version_name(version.number);
            let deleted = version.deleted;
            versions.insert(version.dataset, VersionOf { name, deleted });
        }
    }
    Ok(versions)
}

/// Finds the job whose id begins with `prefix`.
pub(crate) async fn job(catalog: &dyn Catalog, prefix: &str) -> Result<JobId> {
    let jobs = match prefix.parse() {
        Ok(id) if catalog.job(id).await?.is_some() => return Ok(id),
        // This is a whole id, so no other begins with it.
        Ok(_) => vec![],
        Err(_) => catalog.jobs(ALL).await?,
    };
    let ids = jobs.iter().map(|job| job.id);
    by_prefix(prefix, "job", "maskline status", ids)
}
