//! The records of a CSV (RFC 4180), each of one line, or of more where a text in quotes holds
//! line breaks.
//!
//! A quote that is never closed would take all that follows, up to the next quote or the end of
//! the file, and the rows between would be lost. It is found out where the list ends within the
//! quotes, where more text follows quotes that hold line breaks, and where a line within the
//! quotes is a row by itself: where it has a URL in the column of URLs. Two lines of a record may
//! not have one there, and none may where the record had that column already. But a line that is
//! one URL is text where it stands in a column behind that of the URLs, as in a caption.

use std::{fs::File, io};

use super::{joined, lines::Lines, position::ListPosition, row::ListContext};
use crate::expand::{error::ExpandError, image_names};

/// How many bytes a record may have, all of its columns together.
pub(super) const MAX_RECORD: usize = 1 << 20;

/// A CSV that is read record by record.
pub(super) struct Records<'a> {
    lines: Lines,
    delimiter: u8,
    context: &'a ListContext,
}

/// A record. A blank line is one without fields.
pub(super) struct Record {
    /// The number of its first line.
    pub(super) number: u64,
    pub(super) fields: Vec<Vec<u8>>,
    /// Whether a field is in quotes.
    pub(super) is_quoted: bool,
}

impl<'a> Records<'a> {
    /// The records from a line on.
    pub(super) fn open(
        file: File,
        first_line: u64,
        delimiter: u8,
        context: &'a ListContext,
    ) -> io::Result<Self> {
        let mut lines = Lines::open(file, ListPosition::START)?;
        while lines.position().line < first_line && lines.read(0)?.is_some() {}
        Ok(Self {
            lines,
            delimiter,
            context,
        })
    }

    pub(super) fn seek(&mut self, position: ListPosition) -> io::Result<()> {
        self.lines.seek(position)
    }

    pub(super) fn position(&self) -> ListPosition {
        self.lines.position()
    }

    /// The next record. `target` is the column of URLs or files, and `None` for the record that
    /// names the columns.
    pub(super) fn read(&mut self, target: Option<usize>) -> Result<Option<Record>, ExpandError> {
        let name = &self.context.name;
        let number = self.position().line;
        let begin = self.position().byte;
        let mut record = Fields::new(self.delimiter);
        let mut has_target = false;
        loop {
            let length = (self.position().byte - begin) as usize;
            let left = MAX_RECORD.saturating_sub(length);
            let Some(line) = self.lines.read(left).map_err(ExpandError::retry)? else {
                return match record.within {
                    Within::Quotes => Err(self.not_closed(record.opened)),
                    _ => Ok(None),
                };
            };
            if line.is_cut || length > MAX_RECORD {
                let line = match record.within {
                    Within::Quotes => record.opened,
                    _ => number,
                };
                return Err(ExpandError::Source(format!(
                    "{name}:{line}: a record has more than {MAX_RECORD} bytes: is a quote not \
                     closed?"
                )));
            }
            if line.number == number && line.text.is_empty() {
                return Ok(Some(Record {
                    number,
                    fields: vec![],
                    is_quoted: false,
                }));
            }
            let is_behind = target.is_some_and(|target| record.fields.len() > target);
            let is_caption = is_behind && !line.text.contains(&self.delimiter);
            let may_be_row = line.number > number
                && (has_target || is_behind || target.is_none())
                && !is_caption;
            if may_be_row && self.is_row(&line.text, target) {
                return Err(self.not_closed(record.opened));
            }
            if !record.take(&line.text, line.number) {
                return Err(self.not_closed(record.opened));
            }
            if record.within != Within::Quotes {
                return Ok(Some(Record {
                    number,
                    is_quoted: record.opened > 0,
                    fields: record.fields,
                }));
            }
            has_target |= self.is_row(&line.text, target);
        }
    }

    /// Returns whether a line has a URL or the name of an image in the column of them, or in any
    /// column where it is not known which.
    fn is_row(&self, line: &[u8], target: Option<usize>) -> bool {
        let is_target = |field: &[u8]| {
            let text = String::from_utf8_lossy(field);
            let text = text.trim_matches(|c: char| c == '"' || c.is_whitespace());
            match self.context.folder {
                None => joined::is_url(text) && !text.contains(char::is_whitespace),
                Some(_) => image_names::is_image(text),
            }
        };
        let mut fields = line.split(|byte| *byte == self.delimiter);
        match target {
            Some(target) => fields.nth(target).is_some_and(is_target),
            None => fields.any(is_target),
        }
    }

    fn not_closed(&self, line: u64) -> ExpandError {
        ExpandError::Source(format!(
            "{}:{line}: a quote is not closed: close it, or double it if it is part of the text. \
             No line of a text in quotes may have a URL where the rows have theirs",
            self.context.name
        ))
    }
}

/// The fields of a record that is being read.
struct Fields {
    delimiter: u8,
    fields: Vec<Vec<u8>>,
    /// The text of the last field, which may go on.
    text: Vec<u8>,
    within: Within,
    /// The number of the line in which the last quote was opened, or 0 if none was.
    opened: u64,
}

/// Where in a field a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// At its beginning.
    Begin,
    /// In its text, which is not quoted.
    Text,
    Quotes,
    /// Behind its closing quote.
    End,
}

impl Fields {
    fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            fields: vec![],
            text: vec![],
            within: Within::Begin,
            opened: 0,
        }
    }

    /// Takes the next line. Where it ends outside of quotes, the record has all of its fields. A
    /// quote within a field that is not quoted (`5" wide`) means nothing. Returns `false` if text
    /// follows quotes that were opened in a line before.
    fn take(&mut self, line: &[u8], number: u64) -> bool {
        let mut bytes = line.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            self.within = match (self.within, byte) {
                (Within::Quotes, b'"') if bytes.next_if_eq(&b'"').is_none() => Within::End,
                (Within::Quotes, _) => {
                    self.text.push(byte);
                    Within::Quotes
                }
                (_, byte) if byte == self.delimiter => {
                    self.end_field();
                    Within::Begin
                }
                (Within::Begin, b'"') => {
                    self.opened = number;
                    Within::Quotes
                }
                (Within::End, b' ') => {
                    self.text.push(b' ');
                    Within::End
                }
                (Within::End, _) if self.opened < number => return false,
                _ => {
                    self.text.push(byte);
                    Within::Text
                }
            };
        }
        match self.within {
            Within::Quotes => self.text.push(b'\n'),
            _ => self.end_field(),
        }
        true
    }

    fn end_field(&mut self) {
        self.fields.push(std::mem::take(&mut self.text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a record, or the number of the line whose quote is not closed.
    fn fields(lines: &[&str]) -> Result<Vec<String>, u64> {
        let mut record = Fields::new(b',');
        for (line, number) in lines.iter().zip(1..) {
            if !record.take(line.as_bytes(), number) {
                return Err(record.opened);
            }
        }
        match record.within {
            Within::Quotes => Err(record.opened),
            _ => {
                let texts = record.fields.into_iter();
                Ok(texts.map(|text| String::from_utf8(text).unwrap()).collect())
            }
        }
    }

    #[test]
    fn a_record_has_the_fields_of_rfc_4180() {
        let cases: [(&[&str], &[&str]); 9] = [
            (&["a,b"], &["a", "b"]),
            (&["a,,"], &["a", "", ""]),
            (&["\"a", "b\",c"], &["a\nb", "c"]),
            (&["\"say \"\"a", "\"\"\",c"], &["say \"a\n\"", "c"]),
            (&["5\" wide,\"\""], &["5\" wide", ""]),
            (&["a,\"b,c\" ,d"], &["a", "b,c ", "d"]),
            (&["a,\"The best\" day"], &["a", "The best day"]),
            (&["a,\"b\"c,\"d\""], &["a", "bc", "d"]),
            (&["\"a", "", "b\""], &["a\n\nb"]),
        ];
        for (lines, expected) in cases {
            assert_eq!(
                fields(lines).as_deref(),
                Ok(expected_texts(expected).as_slice())
            );
        }
    }

    fn expected_texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn quotes_must_be_closed() {
        let cases: [(&[&str], u64); 5] = [
            (&["a,\"b", "c,d"], 1),
            (&["a,\"b", "c,\"d\""], 1),
            (&["\""], 1),
            (&["\"a\"\""], 1),
            (&["\"a", "b\",\"c", "d"], 2),
        ];
        for (lines, opened) in cases {
            assert_eq!(fields(lines), Err(opened), "{lines:?}");
        }
    }
}
