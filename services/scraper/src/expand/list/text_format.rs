//! A plain text with one URL a line. Blank lines and lines that begin with `#` are
//! passed over.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
};

use super::{
    line::{LinesRead, ListContext, ListLine, MAX_LINE},
    position::ListPosition,
};
use crate::expand::candidate::STEP_SIZE;

/// Reads the next [`STEP_SIZE`] lines. Of a line that is too long only the beginning is
/// kept in memory.
pub(super) fn read(
    mut file: File,
    begin: Option<ListPosition>,
    context: &ListContext,
) -> io::Result<LinesRead> {
    let mut position = begin.unwrap_or(ListPosition::START);
    file.seek(SeekFrom::Start(position.byte))?;
    let mut file = BufReader::new(file);
    let mut candidates = vec![];
    for _ in 0..STEP_SIZE {
        let mut line = vec![];
        let mut read = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(LinesRead {
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
            let line = ListLine {
                number: position.line,
                url: text,
                label: None,
            };
            candidates.push(line.candidate(context));
        }
        position.byte += read;
        position.line += 1;
    }
    Ok(LinesRead {
        candidates,
        next: Some(position),
    })
}
