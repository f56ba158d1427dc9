//! The position in a list at which a step ends and the next one begins.

use crate::expand::error::ExpandError;

/// A position in a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListPosition {
    /// The offset of the next byte to read.
    pub(super) byte: u64,
    /// The number of the line that begins there, counted from 1.
    pub(super) line: u64,
    /// Whether the list has a row before it.
    pub(super) has_rows: bool,
}

/// What a cursor has before the version where no row is before it.
const WITHOUT_ROWS: &str = "no-rows:";

impl ListPosition {
    /// The beginning of a list.
    pub(super) const START: Self = Self {
        byte: 0,
        line: 1,
        has_rows: false,
    };

    /// The cursor for this position in the list's present version.
    pub(super) fn cursor(self, version: &str) -> String {
        let rows = if self.has_rows { "" } else { WITHOUT_ROWS };
        format!("{}:{}:{rows}{version}", self.byte, self.line)
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
        let rest = parts.next().unwrap_or_default();
        let without_rows = rest.strip_prefix(WITHOUT_ROWS);
        if without_rows.unwrap_or(rest) != version {
            return Err(ExpandError::Source(format!(
                "the list {name} was changed while it was read, at line {line}: \
                 enqueue it again"
            )));
        }
        Ok(Self {
            byte,
            line,
            has_rows: without_rows.is_none(),
        })
    }
}
