//! A CSV (RFC 4180) whose first line names its columns. They may also be separated by tabs,
//! semicolons or bars.

use std::{
    cell::Cell,
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

use csv::{ByteRecord, Position, ReaderBuilder};

use super::{
    position::ListPosition,
    quotes,
    row::{ListContext, ListRow, RowsRead},
};
use crate::expand::{
    candidate::{STEP_BYTES, STEP_SIZE},
    columns,
    error::ExpandError,
    provenance,
};

/// How many bytes a record may have, all of its columns together. A quote that is never
/// closed makes one record of all that follows.
pub(super) const MAX_RECORD: u64 = 1 << 20;

/// Reads the next records: [`STEP_SIZE`] of them, or [`STEP_BYTES`].
pub(super) fn read(
    file: File,
    delimiter: u8,
    begin: Option<ListPosition>,
    context: &ListContext,
) -> Result<RowsRead, ExpandError> {
    let name = &context.name;
    let last_line = Cell::new(1);
    let broken = |error: csv::Error| match error.kind() {
        csv::ErrorKind::Io(error) if error.kind() == ErrorKind::FileTooLarge => {
            ExpandError::Source(format!("{name}:{}: {error}", last_line.get()))
        }
        csv::ErrorKind::Io(_) => ExpandError::retry(error),
        _ => ExpandError::Source(format!("the list {name} is not a CSV file: {error}")),
    };
    let bytes = file.try_clone().map_err(ExpandError::retry)?;
    let left = Cell::new(MAX_RECORD);
    let bounded = Bounded { file, left: &left };
    let mut csv = ReaderBuilder::new()
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(bounded);
    let header = csv.byte_headers().map_err(broken)?;
    let names: Vec<String> = header
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    let columns = Columns::find(&names, context)?;
    if let Some(begin) = begin {
        let mut position = Position::new();
        position.set_byte(begin.byte).set_line(begin.line);
        csv.seek(position).map_err(broken)?;
    }
    let first_byte = csv.position().byte();
    let length = bytes.metadata().map_err(ExpandError::retry)?.len();
    let (mut candidates, mut record) = (vec![], ByteRecord::new());
    while candidates.len() < STEP_SIZE && csv.position().byte() - first_byte < STEP_BYTES {
        left.set(MAX_RECORD);
        let end_of_last = csv.position().clone();
        last_line.set(end_of_last.line());
        let (byte, number) = begin_of(&bytes, &end_of_last).map_err(ExpandError::retry)?;
        if byte - end_of_last.byte() > MAX_RECORD / 2 {
            // The reader would take so many blank lines for a part of the record.
            let mut position = Position::new();
            position.set_byte(byte).set_line(number);
            csv.seek(position).map_err(broken)?;
            continue;
        }
        let is_record = csv.read_byte_record(&mut record).map_err(broken)?;
        if !is_record {
            return Ok(RowsRead {
                candidates,
                next: None,
            });
        }
        let end = csv.position();
        // Only a record of several lines, or the last one, can hold a quote that is not closed.
        if end.line() != number + 1 || end.byte() >= length {
            let mut text = vec![0; end.byte().saturating_sub(byte) as usize];
            bytes
                .read_exact_at(&mut text, byte)
                .map_err(ExpandError::retry)?;
            let mut checked = quotes::check(&text, delimiter);
            if holds_a_row(&record, delimiter, names.len(), columns.target) {
                checked = Err(quotes::NOT_CLOSED);
            }
            checked
                .map_err(|problem| ExpandError::Source(format!("{name}:{number}: {problem}")))?;
        }
        let field = |column: usize| {
            let text = String::from_utf8_lossy(record.get(column).unwrap_or_default());
            text.trim().to_owned()
        };
        let label = columns.label.map(field);
        let others = names.iter().enumerate().zip(&record);
        let others = others.filter(|((index, _), _)| !columns.has(*index));
        let others = others.map(|((_, name), text)| (name.as_str(), String::from_utf8_lossy(text)));
        let row = ListRow {
            number,
            target: &field(columns.target),
            label: label.as_deref(),
            provenance: provenance::of_columns(others),
        };
        candidates.push(row.candidate(context));
    }
    let end = csv.position();
    Ok(RowsRead {
        candidates,
        next: Some(ListPosition {
            byte: end.byte(),
            line: end.line(),
        }),
    })
}

/// The indices of the columns that have a meaning here.
#[derive(Debug, Clone, Copy)]
struct Columns {
    target: usize,
    label: Option<usize>,
}

impl Columns {
    fn find(names: &[String], context: &ListContext) -> Result<Self, ExpandError> {
        if names.iter().all(String::is_empty) {
            return Err(ExpandError::Source(format!(
                "{}:1: the CSV is empty, or its first line is: write a line that names the columns, \
                 such as `url,label`, and a line for each image",
                context.name
            )));
        }
        let lacks = |column: &str, advice: &str| {
            ExpandError::Source(format!(
                "{}:1: the CSV has no column `{column}` (its columns: {}): {advice}",
                context.name,
                columns::listed(names.iter().map(String::as_str))
            ))
        };
        let index_of = |asked: Option<&str>, usual: &[&str]| {
            columns::find(names.iter().map(String::as_str), asked, usual)
        };
        let asked = context.column.as_deref();
        let target = index_of(asked, context.usual_columns()).ok_or_else(|| {
            let advice = match context.folder {
                None => "its first line must name the columns, or name one with --url-column",
                Some(_) => "its first line must name the columns",
            };
            lacks(asked.unwrap_or(context.target()), advice)
        })?;
        let label = context.label_column().map(|asked| {
            index_of(asked, &columns::LABEL).ok_or_else(|| {
                let advice = "add one, name another with --label-column, or use --label CLASS";
                lacks(asked.unwrap_or("label"), advice)
            })
        });
        Ok(Self {
            target,
            label: label.transpose()?,
        })
    }

    fn has(&self, index: usize) -> bool {
        index == self.target || Some(index) == self.label
    }
}

/// Returns whether a field holds what is a row by itself: then its quote was not closed, and a
/// quote of a later row closed it.
fn holds_a_row(record: &ByteRecord, delimiter: u8, columns: usize, target: usize) -> bool {
    let is_row = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == delimiter);
        let is_url = |field: &[u8]| field.starts_with(b"http://") || field.starts_with(b"https://");
        columns > 1 && fields.clone().count() == columns && fields.nth(target).is_some_and(is_url)
    };
    let mut lines = record
        .iter()
        .flat_map(|field| field.split(|byte| *byte == b'\n').skip(1));
    lines.any(is_row)
}

/// The byte and the line that a record begins at. The reader only knows `end_of_last`, where the
/// record before ended; the line ends after that are passed over here, [`STEP_BYTES`] at most.
fn begin_of(bytes: &File, end_of_last: &Position) -> io::Result<(u64, u64)> {
    let (mut byte, mut line) = (end_of_last.byte(), end_of_last.line());
    let mut next = [0; 4096];
    while byte - end_of_last.byte() < STEP_BYTES {
        let read = bytes.read_at(&mut next, byte)?;
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let ends = next[..read].iter().take_while(|byte| is_end(byte));
        let (passed, lines) = ends.fold((0, 0), |(passed, lines), byte| {
            (passed + 1, lines + u64::from(*byte == b'\n'))
        });
        (byte, line) = (byte + passed as u64, line + lines);
        if passed < next.len() {
            break;
        }
    }
    Ok((byte, line))
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
