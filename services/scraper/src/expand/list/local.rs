//! A list as a local file.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use anyhow::Context as _;
use maskline_messages::{Location, shown};
use tempfile::NamedTempFile;
use url::Url;

use super::{csv_format, line::MAX_LINE};
use crate::{
    expand::error::ExpandError,
    fetch::{Fetcher, ResourceKind},
};

/// How many bytes a list on the web may have. A hundred million URLs go into a few files
/// of this size.
const MAX_BYTES: u64 = 1 << 30;

/// A list that can be read from a local file.
#[derive(Debug)]
pub struct LocalList {
    path: PathBuf,
    /// Changes when the list does.
    version: String,
    is_csv: bool,
    // Removes the file when dropped.
    _temporary: Option<NamedTempFile>,
}

impl LocalList {
    /// Opens a list in a file, or fetches one that is on the web into a temporary file.
    pub(in crate::expand) async fn open(
        fetcher: &Fetcher,
        list: &Location,
    ) -> Result<Self, ExpandError> {
        match list {
            Location::Path(path) => {
                let path = path.clone();
                let opened = tokio::task::spawn_blocking(move || Self::from_file(&path)).await;
                opened
                    .context("opening a list")
                    .map_err(ExpandError::retry)?
            }
            Location::Url(url) => Self::fetch(fetcher, url).await,
            Location::Line { .. } => Err(ExpandError::Source(format!(
                "{list} is a line of a list and not a list"
            ))),
        }
    }

    /// A list that lies in a file of this machine.
    pub fn from_file(path: &Path) -> Result<Self, ExpandError> {
        let opened = || -> io::Result<Self> {
            let metadata = path.metadata()?;
            if !metadata.is_file() {
                let problem = "it is not a regular file";
                return Err(io::Error::new(ErrorKind::InvalidInput, problem));
            }
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
            let modified = modified.unwrap_or_default().as_nanos();
            Ok(Self {
                path: path.to_owned(),
                version: format!("{}-{modified}", metadata.len()),
                is_csv: is_csv(path, path.to_str().unwrap_or_default())?,
                _temporary: None,
            })
        };
        opened().map_err(|error| {
            ExpandError::Source(format!(
                "the list {} can't be read: {error}. The path must be one that the scraper sees",
                path.display()
            ))
        })
    }

    async fn fetch(fetcher: &Fetcher, url: &Url) -> Result<Self, ExpandError> {
        let what = format!("the list {}", shown(url));
        let failed = |error| ExpandError::fetching(&what, error);
        let response = fetcher
            .web()
            .get(url, ResourceKind::List)
            .await
            .map_err(failed)?;
        let content_type = response.content_type().unwrap_or_default();
        let mut file = NamedTempFile::with_prefix("maskline-list-").map_err(ExpandError::retry)?;
        let version = response
            .write_to(&mut file, MAX_BYTES)
            .await
            .map_err(failed)?;
        let path = file.path().to_owned();
        let name = if content_type.starts_with("text/csv") {
            ".csv"
        } else {
            url.path()
        };
        Ok(Self {
            is_csv: is_csv(&path, name).map_err(ExpandError::retry)?,
            path,
            version,
            _temporary: Some(file),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A text that changes when the list does.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn is_csv(&self) -> bool {
        self.is_csv
    }
}

/// A list is a CSV if its name says so, or if one of the columns in its first line is
/// called `url`.
fn is_csv(path: &Path, name: &str) -> io::Result<bool> {
    if name.to_ascii_lowercase().ends_with(".csv") {
        return Ok(true);
    }
    let mut first = vec![];
    BufReader::new(File::open(path)?.take(MAX_LINE)).read_until(b'\n', &mut first)?;
    let first = String::from_utf8_lossy(&first);
    Ok(first
        .split(',')
        .any(|column| csv_format::is_column(column, "url")))
}
