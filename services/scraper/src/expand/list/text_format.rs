//! A plain text with one URL a line. Blank lines and lines that begin with `#` are
//! passed over.

use std::{fs::File, io};

use maskline_messages::Provenance;

use super::{
    joined,
    lines::Lines,
    position::ListPosition,
    row::{ListContext, ListRow, MAX_LINE, RowsRead},
};
use crate::expand::candidate::{STEP_BYTES, STEP_SIZE};

/// Reads the lines up to the [`STEP_SIZE`]th that counts, or [`STEP_BYTES`] of them. Of a line
/// that is too long only the beginning is kept in memory.
pub(super) fn read(
    file: File,
    begin: Option<ListPosition>,
    context: &ListContext,
) -> io::Result<RowsRead> {
    let begin = begin.unwrap_or(ListPosition::START);
    let mut lines = Lines::open(file, begin)?;
    let mut candidates = vec![];
    while candidates.len() < STEP_SIZE && lines.position().byte - begin.byte < STEP_BYTES {
        let Some(line) = lines.read(MAX_LINE)? else {
            return Ok(RowsRead {
                candidates,
                next: None,
            });
        };
        let text = String::from_utf8_lossy(&line.text);
        let text = text.trim();
        if !text.is_empty() && !text.starts_with('#') {
            let row = ListRow {
                number: line.number,
                target: text,
                label: None,
                provenance: Provenance::default(),
            };
            candidates.push(joined::checked(
                text,
                row.candidate(context),
                line.number,
                context,
            ));
        }
    }
    Ok(RowsRead {
        candidates,
        next: Some(lines.position()),
    })
}
