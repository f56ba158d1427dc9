//! A plain text with one URL a line. Blank lines and lines that begin with `#` are
//! passed over.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
};

use maskline_messages::Provenance;

use super::{
    position::ListPosition,
    row::{ListContext, ListRow, MAX_LINE, RowsRead},
};
use crate::expand::candidate::{STEP_BYTES, STEP_SIZE};

/// Reads the lines up to the [`STEP_SIZE`]th that counts, or [`STEP_BYTES`] of them. Of a line
/// that is too long only the beginning is kept in memory.
pub(super) fn read(
    mut file: File,
    begin: Option<ListPosition>,
    context: &ListContext,
) -> io::Result<RowsRead> {
    let begin = begin.unwrap_or(ListPosition::START);
    let mut position = begin;
    file.seek(SeekFrom::Start(position.byte))?;
    let mut file = BufReader::new(file);
    let mut candidates = vec![];
    while candidates.len() < STEP_SIZE && position.byte - begin.byte < STEP_BYTES {
        let mut line = vec![];
        let mut read = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(RowsRead {
                candidates,
                next: None,
            });
        }
        if read == MAX_LINE && line.last() != Some(&b'\n') {
            read += file.skip_until(b'\n')? as u64;
        }
        let text = String::from_utf8_lossy(&line);
        // Editors of Windows begin a file with a byte order mark.
        let text = text.trim_start_matches('\u{feff}').trim();
        if !text.is_empty() && !text.starts_with('#') {
            let row = ListRow {
                number: position.line,
                target: text,
                label: None,
                provenance: Provenance::default(),
            };
            candidates.push(row.candidate(context));
        }
        position.byte += read;
        position.line += 1;
    }
    Ok(RowsRead {
        candidates,
        next: Some(position),
    })
}
