//! Paths in messages and records, whatever bytes they have: `#[serde(with = "path_serde")]`.

use std::path::{Path, PathBuf};

use maskline_foundation::path_text;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Writes the whole path as [`path_text::to_text`] does.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path_text::to_text(path))
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(path_text::from_text(&String::deserialize(deserializer)?))
}
