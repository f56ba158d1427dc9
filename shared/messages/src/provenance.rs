//! What a source says about an image besides its location and label.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

/// Where an image was published, who made it, and how it may be used, as the source tells it.
/// Nothing of it is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The page for people that shows the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landing_page: Option<Url>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The name of the person or the organization that made the image, as plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator_url: Option<Url>,
    /// The licence in lower case, such as `by-sa 4.0`, `cc0 1.0` or `pdm 1.0`, where Creative
    /// Commons has a name for it, and else as the source names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license_url: Option<Url>,
    /// The line that the licence asks to be shown with the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribution: Option<String>,
    /// Everything else that the source says, such as the other columns of a list, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, String>,
}

impl Provenance {
    /// Says whether the source tells nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
