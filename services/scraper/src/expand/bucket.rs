//! The objects of an S3 bucket whose names begin with a prefix, listed page by page.
//!
//! The names come in their order, so the last one is all that is needed to go on: it is the cursor.

use std::path::Path;

use maskline_messages::{Labeling, Location, Reason};
use maskline_storage::StorageErrorKind;

use super::{
    candidate::{ExpansionStep, STEP_SIZE, SourceCandidate},
    error::ExpandError,
    label::{folders_of, label_of},
};
use crate::fetch::Fetcher;

/// Finds the next [`STEP_SIZE`] objects after `cursor`.
pub(super) async fn step(
    fetcher: &Fetcher,
    address: &str,
    labeling: Option<&Labeling>,
    cursor: Option<&str>,
) -> Result<ExpansionStep, ExpandError> {
    let failed = |error: maskline_storage::StorageError| match error.kind() {
        StorageErrorKind::Unavailable => ExpandError::retry(error),
        _ => ExpandError::Source(format!("{:#}", anyhow::Error::new(error))),
    };
    let bucket = fetcher.bucket(address).await.map_err(failed)?;
    let page = bucket.list(cursor, STEP_SIZE).await.map_err(failed)?;
    let next_cursor = page.last().filter(|_| page.len() == STEP_SIZE);
    let next_cursor = next_cursor.map(|object| object.key.clone());
    let most = fetcher.most_bytes();
    let candidates: Vec<_> = page
        .into_iter()
        .filter(|object| {
            !is_hidden(
                object
                    .key
                    .strip_prefix(bucket.prefix())
                    .unwrap_or(&object.key),
            )
        })
        .map(|object| {
            let label = label_of(labeling, || folders_of(Path::new(&object.key)));
            let location = Location::S3 {
                bucket: bucket.address().to_owned(),
                key: object.key,
            };
            match object.size {
                0 => SourceCandidate::rejected(location, Reason::Empty),
                bytes if bytes > most => {
                    let reason = Reason::TooManyBytes { bytes, most };
                    SourceCandidate::rejected(location, reason)
                }
                _ => SourceCandidate::new(location, label),
            }
        })
        .collect();
    if candidates.is_empty() && next_cursor.is_none() && cursor.is_none() {
        return Err(ExpandError::Source(format!(
            "no objects at {address}: check the bucket and the prefix"
        )));
    }
    Ok(ExpansionStep {
        candidates,
        next_cursor,
    })
}

/// Returns whether a name is that of a folder, of a hidden file, or of one in a hidden folder, as
/// in a folder of the disk. `below` is what follows the prefix.
fn is_hidden(below: &str) -> bool {
    below.ends_with('/') || below.split('/').any(|part| part.starts_with('.'))
}
