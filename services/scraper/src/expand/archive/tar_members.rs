//! The members of a tar.

use std::{fs::File, io::Read};

use bytes::Bytes;
use maskline_messages::Reason;
use tar::{Archive, EntryType};

use super::{
    limits::MAX_HEADERS,
    member::{Head, Members, name_of},
    position::ArchivePosition,
    tar_stream::TarStream,
};
use crate::expand::compression::{Compression, first_bytes};

/// A tar consists of blocks of so many bytes.
const BLOCK: u64 = 512;

/// A tar that is being read.
pub(super) struct TarMembers {
    stream: TarStream,
    /// The number of the next member, counted from 0.
    next: u64,
    /// The offset of the block behind the last member, where the next one begins.
    end: u64,
    /// What these were before the last member.
    before: (u64, u64),
}

/// Returns whether a file that begins with `first` is a tar: its first block has a checksum.
pub(super) fn is_tar(first: &[u8]) -> bool {
    let Some(block) = first.first_chunk::<{ BLOCK as usize }>() else {
        return false;
    };
    // An empty tar is two blocks of zeros.
    if block.iter().all(|byte| *byte == 0) {
        return true;
    }
    let header = tar::Header::from_byte_slice(block);
    let of_checksum = 148..156;
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if of_checksum.contains(&at) {
                b' '
            } else {
                *byte
            }
        })
        .map(u32::from)
        .sum();
    header.cksum().is_ok_and(|checksum| checksum == sum)
}

impl TarMembers {
    /// Opens a tar at its begin.
    pub(super) fn open(file: File, compression: Compression) -> Result<Self, String> {
        let damaged = |error| format!("can't be decompressed, it may be damaged: {error}");
        let mut stream = TarStream::open(file, compression).map_err(damaged)?;
        stream.mark();
        let first = first_bytes(&mut stream).map_err(damaged)?;
        stream.rewind();
        if !is_tar(&first) {
            return Err("holds no tar".to_owned());
        }
        Ok(Self {
            stream,
            next: 0,
            end: 0,
            before: (0, 0),
        })
    }

    /// Reads the headers of the next member, whatever it is. Returns its type, name and size.
    fn header(&mut self) -> Result<Option<(EntryType, Vec<u8>, u64)>, String> {
        self.before = (self.next, self.end);
        self.stream
            .skip_to(self.end)
            .map_err(|error| cut_off(&error))?;
        self.stream.mark();
        self.stream.allow(MAX_HEADERS);
        // A reader for one member alone, which lends the stream no longer than for its headers.
        let mut archive = Archive::new(&mut self.stream);
        let mut entries = archive.entries().map_err(|error| error.to_string())?;
        let Some(entry) = entries.next() else {
            return Ok(None);
        };
        let entry = entry.map_err(|error| cut_off(&error))?;
        let kind = entry.header().entry_type();
        let name = entry.path_bytes().into_owned();
        let size = entry.size();
        // What a sparse file has in the archive is less than its size.
        let stored = match kind {
            EntryType::GNUSparse => entry.header().entry_size().unwrap_or(size),
            _ => size,
        };
        let end = self.stream.offset().checked_add(stored);
        let end = end.and_then(|end| end.checked_next_multiple_of(BLOCK));
        self.end = end.ok_or("a member has more bytes than there are")?;
        self.next += 1;
        self.stream.allow(u64::MAX);
        Ok(Some((kind, name, size)))
    }
}

fn cut_off(error: &std::io::Error) -> String {
    format!("it is damaged or cut off ({error})")
}

impl Members for TarMembers {
    fn position(&self) -> ArchivePosition {
        ArchivePosition {
            index: self.next,
            offset: self.end,
            packed: 0,
        }
    }

    fn go_to(&mut self, position: ArchivePosition) -> Result<bool, String> {
        if position.offset < self.stream.offset() {
            return Ok(false);
        }
        self.stream
            .skip_to(position.offset)
            .map_err(|error| cut_off(&error))?;
        (self.next, self.end) = (position.index, position.offset);
        Ok(true)
    }

    fn next(&mut self) -> Result<Option<Head>, String> {
        loop {
            let index = self.next;
            let Some((kind, name, size)) = self.header()? else {
                return Ok(None);
            };
            let problem = match kind {
                EntryType::Regular | EntryType::Continuous => None,
                EntryType::Link | EntryType::Symlink => {
                    Some("it is a link: put the image itself into the archive")
                }
                EntryType::GNUSparse => Some("it is a sparse file: pack it without --sparse"),
                // Folders, devices and remarks.
                _ => continue,
            };
            let Some((name, bad_name)) = name_of(&name) else {
                continue;
            };
            return Ok(Some(Head {
                index,
                name,
                size,
                problem: bad_name.or(problem.map(str::to_owned)),
            }));
        }
    }

    fn content(&mut self, head: &Head, most: u64) -> Result<Result<Bytes, Reason>, String> {
        self.stream.unmark();
        if let Some(reason) = head.rejection(most) {
            return Ok(Err(reason));
        }
        let mut bytes = Vec::with_capacity(head.size as usize);
        let read = self.stream.by_ref().take(head.size).read_to_end(&mut bytes);
        read.map_err(|error| cut_off(&error))?;
        match bytes.len() as u64 == head.size {
            true => Ok(Ok(bytes.into())),
            false => Err("it is cut off".to_owned()),
        }
    }

    fn put_back(&mut self) {
        self.stream.rewind();
        (self.next, self.end) = self.before;
    }
}
