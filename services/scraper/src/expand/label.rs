//! The label that a source gives to a candidate by where it lies.

use std::path::Path;

use maskline_foundation::text::shortened;
use maskline_messages::{InvalidId, Label, Labeling, Reason};
use url::Url;

/// The label that `labeling` asks for. `folders` gives the names of the folders that the candidate
/// lies in, the nearest first; it is called only where the label comes from there.
///
/// A label column is not this function's concern: under `Labeling::Column` it gives no
/// label, and whoever reads the list adds the column's.
pub(super) fn label_of(
    labeling: Option<&Labeling>,
    folders: impl FnOnce() -> Vec<String>,
) -> Result<Option<Label>, Reason> {
    match labeling {
        Some(Labeling::Declared { label }) => Ok(Some(label.clone())),
        Some(Labeling::Folder { classes }) => {
            let folders = folders();
            match Label::by_folders(&folders, classes) {
                Some(class) => Ok(Some(class.clone())),
                None => folders.first().map(|name| parse(name)).transpose(),
            }
        }
        Some(Labeling::Column { .. }) | None => Ok(None),
    }
}

fn parse(name: &str) -> Result<Label, Reason> {
    name.parse().map_err(|_| Reason::BadLabel {
        text: shortened(name, 100),
    })
}

/// The label that the text of a column means. An empty text is no label. The error says what
/// is wrong with the text.
pub(super) fn label_of_text(
    text: &str,
    labeling: Option<&Labeling>,
) -> Result<Option<Label>, String> {
    let text = text.trim();
    if let Some(Labeling::Column { map, .. }) = labeling
        && let Some(label) = map.get(text)
    {
        return Ok(Some(label.clone()));
    }
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|error: InvalidId| error.to_string()),
    }
}

/// The names of the folders that the file lies in, the nearest first. The last is that of `root`.
pub(super) fn folders_within(file: &Path, root: &Path) -> Vec<String> {
    let below = file.ancestors().skip(1);
    let within = below.take_while(|folder| folder.starts_with(root));
    names(within)
}

/// The names of all folders in a path, the nearest first.
pub(super) fn folders_of(file: &Path) -> Vec<String> {
    names(file.ancestors().skip(1))
}

fn names<'a>(folders: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let names = folders.filter_map(Path::file_name);
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The folders in the URL's path, percent-decoded (RFC 3986, section 2.1), the last first.
pub(super) fn folders_in(url: &Url) -> Vec<String> {
    let Some(segments) = url.path_segments() else {
        return vec![];
    };
    let decoded = |folder: &str| {
        let bytes = percent_encoding::percent_decode_str(folder);
        bytes.decode_utf8_lossy().into_owned()
    };
    let folders = segments.rev().skip(1);
    folders
        .filter(|name| !name.is_empty())
        .map(decoded)
        .collect()
}
