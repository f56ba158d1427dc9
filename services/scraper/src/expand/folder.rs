//! A folder, searched recursively, in an order that is always the same.
//!
//! The order is that of the paths, so the path of the last file found is all that is
//! needed to go on: it is the cursor.
//!
//! * [`walk`]: the files of a folder and of the folders in it, one after the other.
//! * [`directory`]: the names in one folder, which may be too many for the memory.

mod directory;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use maskline_messages::{Labeling, Location, Reason};

use super::{
    candidate::{ExpansionStep, STEP_SIZE, SourceCandidate},
    error::ExpandError,
};
use walk::Entry;

pub(super) use walk::Walk;

/// Finds the next [`STEP_SIZE`] files after `cursor`. `kept` is the walk that an earlier
/// step of the same source returned, if this process still has it.
pub(super) async fn step(
    root: &Path,
    labeling: Option<&Labeling>,
    cursor: Option<&str>,
    kept: Option<Walk>,
) -> Result<(ExpansionStep, Walk), ExpandError> {
    let (root, labeling) = (root.to_owned(), labeling.cloned());
    let cursor = cursor.map(PathBuf::from);
    tokio::task::spawn_blocking(move || {
        let mut walk = walk_from(&root, cursor.as_deref(), kept)?;
        let step = take_step(&mut walk, &root, labeling.as_ref());
        if step.candidates.is_empty() && cursor.is_none() {
            return Err(ExpandError::Source(format!(
                "no images in folder {}: it has no files (hidden ones don't count). \
                 Put images into it, or enqueue another folder",
                root.display()
            )));
        }
        Ok((step, walk))
    })
    .await
    .context("searching a folder")
    .map_err(ExpandError::retry)?
}

/// The walk that goes on after `cursor`: the kept one, unless another replica's steps
/// make it useless.
fn walk_from(root: &Path, cursor: Option<&Path>, kept: Option<Walk>) -> Result<Walk, ExpandError> {
    let is_behind = |walk: &Walk| cursor.is_some_and(|cursor| walk.position() <= cursor);
    if let (Some(mut walk), Some(cursor)) = (kept.filter(is_behind), cursor) {
        walk.skip_to(cursor);
        return Ok(walk);
    }
    Walk::open(root, cursor).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::PermissionDenied => ExpandError::Source(format!(
            "folder {} can't be read: {error}. The path must be one that the scraper sees",
            root.display()
        )),
        _ => {
            let context = format!("reading folder {}", root.display());
            ExpandError::retry(anyhow::Error::new(error).context(context))
        }
    })
}

fn take_step(walk: &mut Walk, root: &Path, labeling: Option<&Labeling>) -> ExpansionStep {
    let mut step = ExpansionStep::default();
    while let Some(entry) = walk.next() {
        // A step can only end at a path that JSON can carry, because it becomes the cursor.
        let cursor = entry.path.to_str().map(str::to_owned);
        step.candidates.push(candidate(root, entry, labeling));
        if step.candidates.len() >= STEP_SIZE && cursor.is_some() {
            step.next_cursor = cursor;
            break;
        }
    }
    step
}

fn candidate(root: &Path, entry: Entry, labeling: Option<&Labeling>) -> SourceCandidate {
    let path = root.join(&entry.path);
    match entry.problem {
        None => SourceCandidate::at_path(path, labeling),
        Some(detail) => {
            let legible = PathBuf::from(path.to_string_lossy().into_owned());
            let reason = Reason::Unreadable { detail };
            SourceCandidate::rejected(Location::Path(legible), reason)
        }
    }
}
