//! The position in an archive at which a step ends and the next one begins.

use crate::expand::error::ExpandError;

/// A position in an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ArchivePosition {
    /// The number of the next member, counted from 0.
    pub(super) index: u64,
    /// The bytes before it: in a tar those of the stream, decompressed; in a zip those of all
    /// members before, decompressed.
    pub(super) offset: u64,
    /// In a zip, the bytes of all members before, as they lie in the file.
    pub(super) packed: u64,
}

impl ArchivePosition {
    /// The cursor for this position in the archive's present version.
    pub(super) fn cursor(self, version: &str) -> String {
        format!("{}:{}:{}:{version}", self.index, self.offset, self.packed)
    }

    /// Reads a cursor. It is refused if it belongs to another version of the archive, whose
    /// errors call it `name`.
    pub(super) fn parse(cursor: &str, version: &str, name: &str) -> Result<Self, ExpandError> {
        let mut parts = cursor.splitn(4, ':');
        let mut number = || parts.next()?.parse().ok();
        let (Some(index), Some(offset), Some(packed)) = (number(), number(), number()) else {
            return Err(ExpandError::Source(format!(
                "the cursor {cursor:?} is not a position in the archive {name}: enqueue it again"
            )));
        };
        if parts.next() != Some(version) {
            return Err(ExpandError::Source(format!(
                "the archive {name} was changed while it was read, at member {index}: enqueue it \
                 again"
            )));
        }
        Ok(Self {
            index,
            offset,
            packed,
        })
    }
}
