//! A CSV (RFC 4180) whose first line names its columns: `url`, and perhaps `label`.

use std::{
    cell::Cell,
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

use csv::{ByteRecord, Position, ReaderBuilder};
use maskline_messages::Labeling;

use super::{
    line::{LinesRead, ListContext, ListLine},
    position::ListPosition,
};
use crate::expand::{candidate::STEP_SIZE, error::ExpandError};

/// How many bytes a record may have, all of its columns together. A quote that is never
/// closed makes one record of all that follows.
pub(super) const MAX_RECORD: u64 = 1 << 20;

/// Returns whether this name in a CSV's first line is that of the column `column`.
pub(super) fn is_column(name: &str, column: &str) -> bool {
    let name = name.trim_start_matches('\u{feff}').trim();
    name.trim_matches('"').eq_ignore_ascii_case(column)
}

/// Reads the next [`STEP_SIZE`] records.
pub(super) fn read(
    file: File,
    begin: Option<ListPosition>,
    context: &ListContext,
) -> Result<LinesRead, ExpandError> {
    let name = &context.name;
    let broken = |error: csv::Error| match error.kind() {
        csv::ErrorKind::Io(error) if error.kind() == ErrorKind::FileTooLarge => {
            ExpandError::Source(format!("the list {name}: {error}"))
        }
        csv::ErrorKind::Io(_) => ExpandError::retry(error),
        _ => ExpandError::Source(format!("the list {name} is not a CSV file: {error}")),
    };
    let bytes = file.try_clone().map_err(ExpandError::retry)?;
    let left = Cell::new(MAX_RECORD);
    let bounded = Bounded { file, left: &left };
    let mut csv = ReaderBuilder::new().flexible(true).from_reader(bounded);
    let columns = Columns::find(csv.byte_headers().map_err(broken)?, context)?;
    if let Some(begin) = begin {
        let mut position = Position::new();
        position.set_byte(begin.byte).set_line(begin.line);
        csv.seek(position).map_err(broken)?;
    }
    let (mut candidates, mut record) = (vec![], ByteRecord::new());
    for _ in 0..STEP_SIZE {
        left.set(MAX_RECORD);
        if !csv.read_byte_record(&mut record).map_err(broken)? {
            return Ok(LinesRead {
                candidates,
                next: None,
            });
        }
        let number = match record.position() {
            Some(end_of_last) => line_of(&bytes, end_of_last).map_err(ExpandError::retry)?,
            None => 0,
        };
        let field = |column: usize| {
            let text = String::from_utf8_lossy(record.get(column).unwrap_or_default());
            text.trim().to_owned()
        };
        let label = columns.label.map(field);
        let line = ListLine {
            number,
            url: &field(columns.url),
            label: label.as_deref(),
        };
        candidates.push(line.candidate(context));
    }
    let end = csv.position();
    Ok(LinesRead {
        candidates,
        next: Some(ListPosition {
            byte: end.byte(),
            line: end.line(),
        }),
    })
}

/// The indices of the columns that are read.
#[derive(Debug, Clone, Copy)]
struct Columns {
    url: usize,
    label: Option<usize>,
}

impl Columns {
    fn find(headers: &ByteRecord, context: &ListContext) -> Result<Self, ExpandError> {
        let name = &context.name;
        let index_of = |column: &str| {
            let mut headers = headers.iter().map(String::from_utf8_lossy);
            headers.position(|header| is_column(&header, column))
        };
        let url = index_of("url").ok_or_else(|| {
            ExpandError::Source(format!(
                "{name}:1: the CSV has no column `url`: its first line must name the columns"
            ))
        })?;
        let label = match context.labeling {
            Some(Labeling::Column) => Some(index_of("label").ok_or_else(|| {
                ExpandError::Source(format!(
                    "{name}:1: the CSV has no column `label`: add one, or use --label CLASS"
                ))
            })?),
            _ => None,
        };
        Ok(Self { url, label })
    }
}

/// The number of the line that a record begins in. The reader only knows `end_of_last`,
/// where the record before ended; the line ends after that are counted here.
fn line_of(bytes: &File, end_of_last: &Position) -> io::Result<u64> {
    let (mut byte, mut line) = (end_of_last.byte(), end_of_last.line());
    let mut next = [0];
    while bytes.read_at(&mut next, byte)? == 1 && matches!(&next, b"\r" | b"\n") {
        line += u64::from(next == *b"\n");
        byte += 1;
    }
    Ok(line)
}

/// A file that refuses to be read any further once `left` bytes were read. `left` is
/// set anew for each record, because the CSV reader holds a whole record in memory,
/// however long it is.
struct Bounded<'a> {
    file: File,
    left: &'a Cell<u64>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            let problem =
                format!("a record has more than {MAX_RECORD} bytes: is a quote not closed?");
            return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
        }
        let read = self.file.read(bytes)?;
        self.left.set(self.left.get().saturating_sub(read as u64));
        Ok(read)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
