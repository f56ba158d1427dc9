//! What one step of an expansion finds.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use maskline_messages::{Label, Labeling, Location, Provenance, Reason};
use url::Url;

use super::label::{folders_in, folders_within, label_of};

/// A step ends when it has found about this many candidates.
pub(crate) const STEP_SIZE: usize = 1000;

/// A step ends when it has read about this many bytes, with whatever it has found: a list can
/// be all blank lines.
pub(super) const STEP_BYTES: u64 = 16 << 20;

/// A step ends when the images that it hands over have about this many bytes together. They are
/// all in memory.
pub(super) const STEP_CONTENT: u64 = 16 << 20;

/// One candidate of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceCandidate {
    /// The address or path at which the source promises an image.
    pub location: Location,
    /// Its class, where the source names one.
    pub label: Option<Label>,
    pub provenance: Provenance,
    /// The image's bytes, where the source itself holds them. Otherwise they are fetched.
    pub content: Option<Bytes>,
    /// The reason, where the source alone shows that no image will come of it.
    pub rejected: Option<Reason>,
}

impl SourceCandidate {
    /// The candidate at `url`, labelled as `labeling` asks, but not by a column.
    pub(super) fn at_url(url: Url, labeling: Option<&Labeling>) -> Self {
        let label = label_of(labeling, || folders_in(&url));
        Self::new(Location::Url(url), label)
    }

    /// The candidate in the file at `path` in the folder `root`, labelled as `labeling` asks.
    pub(super) fn at_path(path: PathBuf, root: &Path, labeling: Option<&Labeling>) -> Self {
        let label = label_of(labeling, || folders_within(&path, root));
        Self::new(Location::Path(path), label)
    }

    /// The candidate whose bytes the source holds, or of which it shows that they are of no use.
    pub(super) fn with_content(
        location: Location,
        label: Result<Option<Label>, Reason>,
        content: Result<Bytes, Reason>,
    ) -> Self {
        match content {
            Ok(content) => {
                let candidate = Self::new(location, label);
                let content = candidate.rejected.is_none().then_some(content);
                Self {
                    content,
                    ..candidate
                }
            }
            Err(reason) => Self::rejected(location, reason),
        }
    }

    /// The candidate at `location`, or the rejected one for a label that is none.
    pub(super) fn new(location: Location, label: Result<Option<Label>, Reason>) -> Self {
        match label {
            Ok(label) => Self {
                location,
                label,
                provenance: Provenance::default(),
                content: None,
                rejected: None,
            },
            Err(reason) => Self::rejected(location, reason),
        }
    }

    /// A candidate that is rejected before anything is fetched.
    pub(super) fn rejected(location: Location, reason: Reason) -> Self {
        Self {
            location,
            label: None,
            provenance: Provenance::default(),
            content: None,
            rejected: Some(reason),
        }
    }
}

/// What one step found.
#[derive(Debug, Default)]
pub struct ExpansionStep {
    /// The candidates in the source's order.
    pub candidates: Vec<SourceCandidate>,
    /// The cursor of the next step. After the last step it is `None`.
    pub next_cursor: Option<String>,
}

impl ExpansionStep {
    /// A step that found nothing, before the one of this cursor.
    pub(super) fn ending(cursor: &str) -> Self {
        Self {
            candidates: vec![],
            next_cursor: Some(cursor.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_labelled_by_its_last_folder() {
        let label = |url: &str| {
            let labeling = Labeling::Folder {
                classes: vec!["with_mask".parse().unwrap()],
            };
            let candidate = SourceCandidate::at_url(url.parse().unwrap(), Some(&labeling));
            (candidate.label.map(String::from), candidate.rejected)
        };
        let with = (Some("with_mask".to_owned()), None);
        assert_eq!(label("http://a/faces/with_mask/1.jpg"), with);
        assert_eq!(label("http://a/with%5Fmask/1.jpg?size=2"), with);
        assert_eq!(label("http://a/with_mask/2020/large/1.jpg"), with);
        assert_eq!(label("http://a/1.jpg"), (None, None));
        let other = (Some("large".to_owned()), None);
        assert_eq!(label("http://a/2020/large/1.jpg"), other);
        let bad = Reason::BadLabel {
            text: "with mask".to_owned(),
        };
        assert_eq!(label("http://a/with%20mask/1.jpg"), (None, Some(bad)));
    }
}
