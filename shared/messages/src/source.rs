//! What a person enqueues, and the places that are found in it.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::ids::Label;

/// A source of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A folder, searched recursively. Must be visible to the scraper.
    Folder { path: PathBuf },
    /// A list of URLs, one a line, or a CSV with a column `url` and perhaps one
    /// `label`: a file that the scraper sees, or itself on the web.
    Urls { list: Location },
    /// A web page, for the images in it.
    Page { url: Url },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path } => write!(f, "folder {}", path.display()),
            Self::Urls { list } => write!(f, "URL list {list}"),
            Self::Page { url } => write!(f, "page {url}"),
        }
    }
}

/// Where a candidate's label comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Labeling {
    /// Everything in the source is of this class.
    Declared { label: Label },
    /// The name of the folder that the file lies in, or of the last folder in
    /// the URL's path.
    Folder,
    /// The column `label` of a CSV list.
    Column,
}

/// Where one image is said to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    Url(Url),
    Path(PathBuf),
    /// A line of a list that names no place (counted from 1), so that it too
    /// ends in the books.
    Line {
        list: String,
        line: u64,
    },
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Path(path) => path.display().fmt(f),
            Self::Line { list, line } => write!(f, "{list}:{line}"),
        }
    }
}
