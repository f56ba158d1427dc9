//! The names of collections and of their versions.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::invalid::InvalidId;

/// The name of a collection of images, such as `masks`: 1 to 64 ASCII letters, digits, `_`,
/// `-` or `.`, of which the first is a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectionName(String);

impl CollectionName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The collection of those who name none: `default`.
impl Default for CollectionName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CollectionName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if begins_well && text.len() <= 64 && text.bytes().all(is_plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidId::new(
            text,
            "a collection's name (1 to 64 letters a-z, digits, `_`, `-` or `.`, the first a \
             letter or a digit)",
        ))
    }
}

impl TryFrom<String> for CollectionName {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<CollectionName> for String {
    fn from(name: CollectionName) -> Self {
        name.0
    }
}

/// The name of one version of a collection, such as `masks@3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionName {
    pub collection: CollectionName,
    /// Versions are numbered from 1.
    pub number: u32,
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.collection, self.number)
    }
}

impl FromStr for VersionName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "a version of a collection (NAME@NUMBER)");
        let (collection, number) = text.split_once('@').ok_or_else(invalid)?;
        Ok(Self {
            collection: collection.parse()?,
            number: number
                .parse()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(invalid)?,
        })
    }
}

impl TryFrom<String> for VersionName {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<VersionName> for String {
    fn from(name: VersionName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_has_a_plain_name() {
        for name in ["masks", "a", "2026-11.masks_b", &"x".repeat(64)] {
            assert_eq!(name.parse::<CollectionName>().unwrap().as_str(), name);
        }
        for text in ["", "a b", "a@1", "a/b", ".a", "-a", "ä", &"x".repeat(65)] {
            assert!(text.parse::<CollectionName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_version_is_a_name_and_a_number_from_1() {
        let version: VersionName = "masks@3".parse().unwrap();
        assert_eq!((version.collection.as_str(), version.number), ("masks", 3));
        assert_eq!(version.to_string(), "masks@3");
        for text in ["masks", "masks@", "masks@0", "masks@-1", "@1", "masks@1@2"] {
            assert!(text.parse::<VersionName>().is_err(), "{text:?}");
        }
    }
}
