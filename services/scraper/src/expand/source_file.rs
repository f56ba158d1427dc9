//! A source that is one file, as a file of this machine.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use anyhow::Context as _;
use maskline_foundation::{path_text, regular_file};
use maskline_messages::{Location, shown};
use tempfile::NamedTempFile;

use super::error::ExpandError;
use crate::{
    fetch::{Fetcher, ResourceKind},
    turns::without_turn,
};

/// A file that can be read: one that lies here, or one from the web in a temporary file.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    path: PathBuf,
    /// What the source calls the file, for its ending.
    name: String,
    /// Changes when the file does.
    version: String,
    /// The media type that a server named.
    content_type: Option<String>,
    /// What errors call it: `list`, `archive`.
    kind: &'static str,
    // The last one removes the file.
    temporary: Option<Arc<NamedTempFile>>,
}

impl SourceFile {
    /// Opens the file at `location`, or fetches it if it is on the web and has at most `most`
    /// bytes. `kind` is what errors call it: `list`, `archive`.
    pub(super) async fn open(
        fetcher: &Fetcher,
        location: &Location,
        kind: &'static str,
        most: u64,
    ) -> Result<Self, ExpandError> {
        match location {
            Location::Path(path) => {
                let path = path.clone();
                let opened = tokio::task::spawn_blocking(move || Self::at(&path, kind)).await;
                opened
                    .context("opening a file")
                    .map_err(ExpandError::retry)?
            }
            Location::Url(url) => {
                let what = format!("the {kind} {}", shown(url));
                let failed = |error| ExpandError::fetching(&what, error);
                let fetching = async {
                    let response = fetcher.web().get(url, ResourceKind::List).await?;
                    let content_type = response.content_type();
                    let (file, version) = response.into_file(most).await?;
                    Ok((content_type, file, version))
                };
                let (content_type, file, version) = without_turn(fetching).await.map_err(failed)?;
                Ok(Self {
                    path: file.path().to_owned(),
                    name: url.path().to_owned(),
                    version,
                    content_type,
                    kind,
                    temporary: Some(Arc::new(file)),
                })
            }
            Location::Line { .. } | Location::Member { .. } | Location::S3 { .. } => Err(
                ExpandError::Source(format!("{} is no {kind}", location.shown())),
            ),
        }
    }

    /// The file at `path` of this machine.
    pub(super) fn at(path: &Path, kind: &'static str) -> Result<Self, ExpandError> {
        Ok(Self {
            path: path.to_owned(),
            name: path_text::to_text(path).into_owned(),
            version: version_of(path).map_err(|error| unreadable(path, kind, error))?,
            kind,
            content_type: None,
            temporary: None,
        })
    }

    /// Returns whether the file is no longer what it was when it was opened. One that was
    /// fetched stays the same.
    pub(super) fn has_changed(&self) -> bool {
        self.temporary.is_none() && version_of(&self.path).ok().as_ref() != Some(&self.version)
    }

    /// The file with another content in its place, which was made of it.
    pub(super) fn replaced_by(&self, content: NamedTempFile) -> Self {
        Self {
            path: content.path().to_owned(),
            temporary: Some(Arc::new(content)),
            ..self.clone()
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file for reading.
    pub(super) fn read(&self) -> Result<File, ExpandError> {
        let opened = regular_file::open(&self.path);
        let (file, _) = opened.map_err(|error| unreadable(&self.path, self.kind, error))?;
        Ok(file)
    }

    /// Returns whether the file's name ends with one of these, in small or capital letters.
    /// An ending of compression is passed over.
    pub(super) fn ends_with(&self, endings: &[&str]) -> bool {
        let name = self.name.to_ascii_lowercase();
        let name = [".gz", ".zst"]
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .unwrap_or(&name);
        endings.iter().any(|ending| name.ends_with(ending))
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }
}

/// A text that changes when the file does. It fails for what is no regular file.
fn version_of(path: &Path) -> io::Result<String> {
    let metadata = regular_file::open(path)?.0.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
    let modified = modified.unwrap_or_default().as_nanos();
    Ok(format!("{}-{modified}", metadata.len()))
}

fn unreadable(path: &Path, kind: &str, error: io::Error) -> ExpandError {
    let name = path_text::shown(path);
    match regular_file::is_permanent(&error) {
        true => ExpandError::Source(format!(
            "the {kind} {name} can't be read: {error}. The path must be one that the scraper sees"
        )),
        false => {
            let context = format!("reading the {kind} {name}");
            ExpandError::retry(anyhow::Error::new(error).context(context))
        }
    }
}
