//! Finding what a person means by the beginning of an id.

use anyhow::{Result, bail};
use maskline_messages::JobId;
use maskline_storage::Catalog;

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
