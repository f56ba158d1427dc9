//! The position in a list at which a step ends and the next one begins.

use crate::expand::error::ExpandError;

/// A position in a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListPosition {
    /// The offset of the next byte to read.
    pub(super) byte: u64,
    /// The number of the line that begins there, counted from 1.
    pub(super) line: u64,
}

impl ListPosition {
    /// The beginning of a list.
    pub(super) const START: Self = Self { byte: 0, line: 1 };

    /// The cursor for this position in the list's present version.
    pub(super) fn cursor(self, version: &str) -> String {
        format!("{}:{}:{version}", self.byte, self.line)
    }

    /// Reads a cursor. It is refused if it belongs to another version of the list, where
    /// the same position may lie in the middle of a line. `name` is the list's in errors.
    pub(super) fn parse(cursor: &str, version: &str, name: &str) -> Result<Self, ExpandError> {
        let mut parts = cursor.splitn(3, ':');
        let mut number = || parts.next()?.parse().ok();
        let (Some(byte), Some(line)) = (number(), number()) else {
            return Err(ExpandError::Source(format!(
                "the cursor {cursor:?} is not a position in the list {name}: \
                 enqueue the list again"
            )));
        };
        if parts.next() != Some(version) {
            return Err(ExpandError::Source(format!(
                "the list {name} was changed while it was read, at line {line}: \
                 enqueue it again"
            )));
        }
        Ok(Self { byte, line })
    }
}
