//! The label that a source gives to a candidate by where it lies.

use std::path::Path;

use maskline_foundation::text::shortened;
use maskline_messages::{InvalidId, Label, Labeling, Reason};
use url::Url;

/// The label that `labeling` asks for. `folder` gives the name of the folder that the
/// candidate lies in; it is called only where the label comes from there.
///
/// A label column is not this function's concern: under `Labeling::Column` it gives no
/// label, and whoever reads the list adds the column's.
pub(super) fn label_of(
    labeling: Option<&Labeling>,
    folder: impl FnOnce() -> Option<String>,
) -> Result<Option<Label>, Reason> {
    match labeling {
        Some(Labeling::Declared { label }) => Ok(Some(label.clone())),
        Some(Labeling::Folder) => folder().map(|name| parse(&name)).transpose(),
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

/// The name of the folder that the file lies in.
pub(super) fn parent_folder(file: &Path) -> Option<String> {
    let folder = file.parent().and_then(Path::file_name)?;
    Some(folder.to_string_lossy().into_owned())
}

/// The last folder in the URL's path, percent-decoded (RFC 3986, section 2.1).
pub(super) fn last_folder(url: &Url) -> Option<String> {
    let mut segments = url.path_segments()?;
    segments.next_back()?;
    let folder = segments.next_back().filter(|name| !name.is_empty())?;
    let bytes = percent_encoding::percent_decode_str(folder);
    Some(bytes.decode_utf8_lossy().into_owned())
}
