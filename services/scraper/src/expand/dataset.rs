//! A dataset as Hugging Face's `datasets` knows it: Parquet files with a column of images, or
//! folders of images, each with a `metadata.csv` or `metadata.jsonl` that names its files.
//!
//! A folder with a metadata file in it, however deep, is a folder of images; else its Parquet
//! files are the dataset, all splits of it. The files are read in the order of their paths, each
//! in steps. The cursor holds the file's path and the position in it.
//!
//! * `files`: the files in the folder.
//! * `images`: the images in a Parquet file.

mod files;
mod images;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use maskline_foundation::path_text;
use maskline_messages::{Labeling, Location, path_serde};
use serde::{Deserialize, Serialize};

use super::{
    blocking,
    candidate::ExpansionStep,
    error::ExpandError,
    list::{self, ListOptions, LocalList},
    source_file::SourceFile,
};
use crate::fetch::Fetcher;
use files::FileKind;
use images::OpenImages;

/// How many bytes a Parquet file on the web may have. It is kept in a temporary file.
const MAX_BYTES: u64 = 16 << 30;

/// The file of a dataset that the last step read from.
pub(super) enum OpenFile {
    Images(Box<OpenImages>),
    Metadata(Arc<LocalList>),
}

/// The position in a dataset at which the next step begins.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    /// The path of the file, relative to the dataset's folder.
    #[serde(with = "path_serde")]
    file: PathBuf,
    kind: FileKind,
    /// The position in the file. `None` is its begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

/// Finds the next candidates from `cursor` on. `kept` is what an earlier step of the same
/// source returned, if this process still has it.
pub(super) async fn step(
    fetcher: &Fetcher,
    dataset: &Location,
    labeling: Option<&Labeling>,
    cursor: Option<&str>,
    kept: Option<OpenFile>,
) -> Result<(ExpansionStep, Option<OpenFile>), ExpandError> {
    let name = dataset.shown();
    let most = fetcher.most_bytes();
    let folder = match dataset {
        Location::Path(path) => {
            let path = path.clone();
            blocking(&name, move || Ok(path.is_dir().then_some(path))).await?
        }
        _ => None,
    };
    let Some(folder) = folder else {
        let kept = kept.and_then(OpenFile::images);
        let file = match kept.as_ref().filter(|kept| !kept.has_changed()) {
            Some(kept) => kept.file().clone(),
            None => SourceFile::open(fetcher, dataset, "dataset", MAX_BYTES).await?,
        };
        let read = images::step(file, dataset, None, labeling, cursor, kept, most);
        let (step, images) = read.await?;
        check_not_empty(&name, cursor.is_none(), &step)?;
        return Ok((step, Some(OpenFile::Images(images))));
    };
    let begin = match cursor {
        Some(cursor) => parse(cursor, &name)?,
        None => {
            let (folder, shown) = (folder.clone(), name.clone());
            let first = blocking(&name, move || files::first(&folder, &shown)).await?;
            Cursor {
                file: first.0,
                kind: first.1,
                at: None,
            }
        }
    };
    let path = folder.join(&begin.file);
    let (mut step, open) = match begin.kind {
        FileKind::Images => {
            let kept = kept.and_then(OpenFile::images);
            let kept = kept.filter(|kept| kept.is_of(&path));
            let file = SourceFile::at(&path, "dataset file")?;
            let location = Location::Path(path);
            let root = Some(folder.as_path());
            let at = begin.at.as_deref();
            let read = images::step(file, &location, root, labeling, at, kept, most);
            let (step, images) = read.await?;
            (step, OpenFile::Images(images))
        }
        FileKind::Metadata => {
            let kept = match kept {
                Some(OpenFile::Metadata(list)) if list.is_of(&path) && !list.has_changed() => {
                    Some(list)
                }
                _ => None,
            };
            let list = match kept {
                Some(list) => list,
                None => Arc::new(metadata(&path, labeling).await?),
            };
            let step = list::step(list.clone(), begin.at.as_deref()).await?;
            (step, OpenFile::Metadata(list))
        }
    };
    step.next_cursor = match step.next_cursor {
        Some(at) => Some(Cursor {
            at: Some(at),
            ..begin
        }),
        None => {
            let kind = begin.kind;
            let after = begin.file.clone();
            let next = blocking(&name, move || files::after(&folder, &after, kind)).await?;
            next.map(|file| Cursor {
                file,
                kind,
                at: None,
            })
        }
    }
    .map(|cursor| serde_json::to_string(&cursor).map_err(ExpandError::retry))
    .transpose()?;
    check_not_empty(&name, cursor.is_none(), &step)?;
    Ok((step, Some(open)))
}

fn check_not_empty(name: &str, is_first: bool, step: &ExpansionStep) -> Result<(), ExpandError> {
    let is_empty = is_first && step.candidates.is_empty() && step.next_cursor.is_none();
    match is_empty {
        true => Err(ExpandError::Source(format!(
            "no images in the dataset {name}"
        ))),
        false => Ok(()),
    }
}

fn parse(cursor: &str, name: &str) -> Result<Cursor, ExpandError> {
    serde_json::from_str(cursor).map_err(|_| {
        ExpandError::Source(format!(
            "the cursor {cursor:?} is not a position in the dataset {name}: enqueue it again"
        ))
    })
}

async fn metadata(path: &Path, labeling: Option<&Labeling>) -> Result<LocalList, ExpandError> {
    let options = ListOptions {
        column: None,
        labeling: labeling.cloned(),
        folder: path.parent().map(Path::to_owned),
    };
    let path = path.to_owned();
    let name = path_text::shown(&path);
    blocking(&name, move || LocalList::from_file(&path, options)).await
}

impl OpenFile {
    fn images(self) -> Option<Box<OpenImages>> {
        match self {
            Self::Images(images) => Some(images),
            Self::Metadata(_) => None,
        }
    }
}
