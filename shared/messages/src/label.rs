//! A class's name, and how an image came to it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::invalid::InvalidId;

/// The name of a class, such as `with_mask`: 1 to 64 letters, digits, `_`, `-` or `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

/// How an image came to its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelOrigin {
    /// The source gave it: its one class, its folder or its label column.
    Source,
}

impl Label {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the classes the one by which a file's folders name it: that of the nearest folder whose
    /// name is a class. `folders` begins with the nearest.
    pub fn by_folders(
        folders: impl IntoIterator<Item = impl AsRef<str>>,
        classes: &[Self],
    ) -> Option<&Self> {
        let class = |folder: &str| classes.iter().find(|class| class.as_str() == folder);
        folders
            .into_iter()
            .find_map(|folder| class(folder.as_ref()))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Label {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let sane = (1..=64).contains(&text.len()) && !text.starts_with('.');
        if sane && text.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(
                text,
                "a label (1 to 64 letters, digits, `_`, `-` or `.`)",
            ))
        }
    }
}

impl TryFrom<String> for Label {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}
