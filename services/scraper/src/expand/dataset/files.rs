//! The files of a dataset in a folder.

use std::path::{Path, PathBuf};

use maskline_foundation::{path_text, regular_file, walk::Walk};
use serde::{Deserialize, Serialize};

use crate::expand::error::ExpandError;

/// What a file of a dataset holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FileKind {
    /// A Parquet file with the images themselves.
    Images,
    /// A list of the image files in its folder.
    Metadata,
}

/// The names of a metadata file.
const METADATA: [&str; 2] = ["metadata.csv", "metadata.jsonl"];

impl FileKind {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if METADATA.contains(&name) {
            return Some(Self::Metadata);
        }
        let is_parquet = path.extension().is_some_and(|ending| ending == "parquet");
        is_parquet.then_some(Self::Images)
    }
}

/// The dataset's first file, relative to the folder, and what all of its files are.
pub(super) fn first(folder: &Path, name: &str) -> Result<(PathBuf, FileKind), ExpandError> {
    let mut first_images = None;
    for (path, kind) in files(folder, None)? {
        match kind {
            FileKind::Metadata => return Ok((path, kind)),
            FileKind::Images => first_images = first_images.or(Some(path)),
        }
    }
    let first = first_images.map(|path| (path, FileKind::Images));
    first.ok_or_else(|| {
        ExpandError::Source(format!(
            "the folder {name} is no dataset: it has neither Parquet files nor a metadata.csv or \
             metadata.jsonl. If its folders are classes, enqueue it with `maskline enqueue folder`"
        ))
    })
}

/// The next file of this kind after the one at `last`.
pub(super) fn after(
    folder: &Path,
    last: &Path,
    kind: FileKind,
) -> Result<Option<PathBuf>, ExpandError> {
    let mut files = files(folder, Some(last))?;
    let next = files.find(|(_, found)| *found == kind);
    Ok(next.map(|(path, _)| path))
}

/// The files of a dataset after `last`, in the order of their paths.
fn files(
    folder: &Path,
    last: Option<&Path>,
) -> Result<impl Iterator<Item = (PathBuf, FileKind)>, ExpandError> {
    let walk = Walk::open(folder, last).map_err(|error| {
        let name = path_text::shown(folder);
        match regular_file::is_permanent(&error) {
            true => ExpandError::Source(format!(
                "the dataset {name} can't be read: {error}. The path must be one that the scraper \
                 sees"
            )),
            false => ExpandError::retry(anyhow::Error::new(error).context(name)),
        }
    })?;
    let readable = walk.filter(|entry| entry.problem.is_none());
    Ok(readable.filter_map(|entry| {
        let kind = FileKind::of(&entry.path)?;
        Some((entry.path, kind))
    }))
}
