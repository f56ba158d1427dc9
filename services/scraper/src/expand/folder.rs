//! A folder, searched recursively, in an order that is always the same.
//!
//! The order is that of the paths, so the path of the last file found is all that is
//! needed to go on: it is the cursor.

#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Context as _;
use maskline_foundation::{
    path_text, regular_file,
    walk::{Entry, Walk},
};
use maskline_messages::{Labeling, Location, Reason};

use super::{
    candidate::{ExpansionStep, STEP_SIZE, SourceCandidate},
    error::ExpandError,
};
/// Finds the next [`STEP_SIZE`] files after `cursor`. `kept` is the walk that an earlier
/// step of the same source returned, if this process still has it.
pub(super) async fn step(
    root: &Path,
    labeling: Option<&Labeling>,
    cursor: Option<&str>,
    kept: Option<Walk>,
) -> Result<(ExpansionStep, Walk), ExpandError> {
    let (root, labeling) = (root.to_owned(), labeling.cloned());
    let cursor = cursor.map(path_text::from_text);
    tokio::task::spawn_blocking(move || {
        let mut walk = walk_from(&root, cursor.as_deref(), kept)?;
        let step = take_step(&mut walk, &root, labeling.as_ref());
        if step.candidates.is_empty() && cursor.is_none() {
            return Err(ExpandError::Source(format!(
                "no images in folder {}: it has no files (hidden ones don't count). \
                 Put images into it, or enqueue another folder",
                path_text::shown(&root)
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
    Walk::open(root, cursor).map_err(|error| {
        let folder = path_text::shown(root);
        match regular_file::is_permanent(&error) {
            true => ExpandError::Source(format!(
                "folder {folder} can't be read: {error}. The path must be one that the scraper sees"
            )),
            false => {
                let context = format!("reading folder {folder}");
                ExpandError::retry(anyhow::Error::new(error).context(context))
            }
        }
    })
}

fn take_step(walk: &mut Walk, root: &Path, labeling: Option<&Labeling>) -> ExpansionStep {
    let mut step = ExpansionStep::default();
    for entry in walk {
        let is_last = step.candidates.len() + 1 >= STEP_SIZE;
        let cursor = is_last.then(|| path_text::to_text(&entry.path).into_owned());
        step.candidates.push(candidate(root, entry, labeling));
        if is_last {
            step.next_cursor = cursor;
            break;
        }
    }
    step
}

fn candidate(root: &Path, entry: Entry, labeling: Option<&Labeling>) -> SourceCandidate {
    let path = root.join(&entry.path);
    match entry.problem {
        None => SourceCandidate::at_path(path, root, labeling),
        Some(detail) => {
            let reason = Reason::Unreadable { detail };
            SourceCandidate::rejected(Location::Path(path), reason)
        }
    }
}
