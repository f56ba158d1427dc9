//! The lines of a list. A line ends with LF, as on Unix, with CR LF, as on Windows, or with CR, as
//! on the first Macintosh, and one list may have all three.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Seek, SeekFrom},
};

use memchr::memchr2;

use super::position::ListPosition;

/// What editors of Windows begin a file with. Files that were put together have it in their
/// middle, too.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of a text that is in memory.
pub(super) fn of_text(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.split('\n');
    lines.flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// A list that is read line by line.
pub(super) struct Lines {
    file: BufReader<File>,
    position: ListPosition,
}

/// A line without its end, and without a byte order mark at its beginning.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) text: Vec<u8>,
    /// Whether `text` is only the beginning of the line.
    pub(super) is_cut: bool,
}

impl Lines {
    pub(super) fn open(file: File, begin: ListPosition) -> io::Result<Self> {
        let mut lines = Self {
            file: BufReader::new(file),
            position: begin,
        };
        lines.seek(begin)?;
        Ok(lines)
    }

    pub(super) fn seek(&mut self, position: ListPosition) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(position.byte))?;
        self.position = position;
        Ok(())
    }

    /// The position of the next line.
    pub(super) fn position(&self) -> ListPosition {
        self.position
    }

    /// The next line. Of one that is longer than `most` bytes only so many are kept in memory.
    pub(super) fn read(&mut self, most: usize) -> io::Result<Option<Line>> {
        let mut line = Line {
            number: self.position.line,
            text: vec![],
            is_cut: false,
        };
        let mut is_empty = true;
        loop {
            let bytes = self.buffered()?;
            if bytes.is_empty() {
                break;
            }
            is_empty = false;
            let end = memchr2(b'\r', b'\n', bytes);
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let kept = part.len().min(most - line.text.len());
            line.text.extend_from_slice(&part[..kept]);
            line.is_cut |= kept < part.len();
            let passed = part.len() + usize::from(end.is_some());
            let is_cr = end.is_some_and(|end| bytes[end] == b'\r');
            self.pass(passed);
            if is_cr && self.buffered()?.first() == Some(&b'\n') {
                self.pass(1);
            }
            if end.is_some() {
                break;
            }
        }
        if is_empty {
            return Ok(None);
        }
        let parts = line.text.chunks(BYTE_ORDER_MARK.len());
        let marks = parts.take_while(|part| *part == BYTE_ORDER_MARK).count();
        line.text.drain(..marks * BYTE_ORDER_MARK.len());
        self.position.line += 1;
        Ok(Some(line))
    }

    /// The bytes that come next, some of them at least. At the end of the list there are none.
    fn buffered(&mut self) -> io::Result<&[u8]> {
        while let Err(error) = self.file.fill_buf() {
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(self.file.buffer())
    }

    fn pass(&mut self, bytes: usize) {
        self.file.consume(bytes);
        self.position.byte += bytes as u64;
    }
}
