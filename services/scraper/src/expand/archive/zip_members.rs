//! The members of a zip.
//!
//! A step reads the entries of the central directory up to its own, which is quick, and holds
//! those of [`BATCH`] members. The directory as a whole may not fit into the memory.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
};

use bytes::Bytes;
use flate2::read::DeflateDecoder;
use maskline_messages::Reason;
use rawzip::{
    CompressionMethod, FileReader, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipArchive,
    ZipArchiveEntryWayfinder, ZipFileHeaderRecord,
};

use super::{
    limits::check_size,
    member::{Head, Members, name_of},
    position::ArchivePosition,
};

/// How many members' entries are held at a time.
const BATCH: usize = 1024;

/// Returns whether a file that begins with `first` is a zip, which may be empty.
pub(super) fn is_zip(first: &[u8]) -> bool {
    first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06")
}

/// A zip that is being read.
pub(super) struct ZipMembers {
    archive: ZipArchive<FileReader>,
    /// How many bytes the file has.
    length: u64,
    /// The next members, with the position of each and the one behind it.
    ready: VecDeque<Entry>,
    /// The position behind the entries that were read.
    read_to: ArchivePosition,
    is_complete: bool,
    last: Option<Entry>,
    position: ArchivePosition,
}

/// An entry of the central directory.
#[derive(Debug, Clone)]
struct Entry {
    head: Head,
    at: ArchivePosition,
    behind: ArchivePosition,
    method: CompressionMethod,
    place: ZipArchiveEntryWayfinder,
}

impl ZipMembers {
    /// Opens a zip. Begins with the member at `begin`.
    pub(super) fn open(file: File, begin: ArchivePosition) -> Result<Self, String> {
        let unreadable = |error: &dyn std::fmt::Display| {
            format!("is no zip that can be read, it may be cut off: {error}")
        };
        let length = file.metadata().map_err(|error| unreadable(&error))?.len();
        let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let archive = ZipArchive::from_file(file, &mut buffer);
        Ok(Self {
            archive: archive.map_err(|error| unreadable(&error))?,
            length,
            ready: VecDeque::new(),
            read_to: begin,
            is_complete: false,
            last: None,
            position: begin,
        })
    }

    /// Reads the next entries of the central directory.
    fn fill(&mut self) -> Result<(), String> {
        let damaged = |error| format!("its central directory is damaged ({error})");
        let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let mut entries = self.archive.entries(&mut buffer);
        for _ in 0..self.read_to.index {
            entries.next_entry().map_err(damaged)?;
        }
        let first = self.read_to.index;
        while self.read_to.index - first < BATCH as u64 {
            let Some(record) = entries.next_entry().map_err(damaged)? else {
                self.is_complete = true;
                break;
            };
            let at = self.read_to;
            let behind = ArchivePosition {
                index: at.index + 1,
                offset: at.offset.saturating_add(record.uncompressed_size_hint()),
                packed: at.packed.saturating_add(record.compressed_size_hint()),
            };
            check_size(behind.packed, behind.offset)?;
            if behind.packed > self.length {
                return Err(
                    "its members have more bytes than the file, so they overlap, which \
                     is what a decompression bomb does"
                        .to_owned(),
                );
            }
            self.read_to = behind;
            if let Some(head) = head_of(&record, at.index) {
                self.ready.push_back(Entry {
                    head,
                    at,
                    behind,
                    method: record.compression_method(),
                    place: record.wayfinder(),
                });
            }
        }
        Ok(())
    }

    fn read(&self, entry: &Entry, most: u64) -> io::Result<Vec<u8>> {
        let found = self.archive.get_entry(entry.place);
        let found = found.map_err(io::Error::other)?;
        let packed = found.reader();
        let mut bytes = vec![];
        // The reader checks size and checksum when it comes to the end.
        let mut read_all = |mut content: Box<dyn Read + '_>| {
            content.by_ref().take(most + 1).read_to_end(&mut bytes)
        };
        match entry.method {
            CompressionMethod::STORE => read_all(Box::new(found.verifying_reader(packed))),
            CompressionMethod::DEFLATE => {
                let content = DeflateDecoder::new(packed);
                read_all(Box::new(found.verifying_reader(content)))
            }
            CompressionMethod::ZSTD => {
                let content = zstd::stream::read::Decoder::new(packed)?;
                read_all(Box::new(found.verifying_reader(content)))
            }
            other => {
                let name = other.name().map(str::to_lowercase);
                let name = name.unwrap_or_else(|| format!("method {}", other.as_u16()));
                Err(io::Error::other(format!(
                    "it is packed by {name}, which is not read: use deflate, zstd or none"
                )))
            }
        }?;
        Ok(bytes)
    }
}

/// The member of an entry. `None` is for folders and hidden files.
fn head_of(record: &ZipFileHeaderRecord<'_>, index: u64) -> Option<Head> {
    if record.is_dir() {
        return None;
    }
    // Some programs of Windows write its own separator.
    let name = record.file_path().as_bytes().to_vec();
    let name: Vec<u8> = name
        .into_iter()
        .map(|byte| if byte == b'\\' { b'/' } else { byte })
        .collect();
    let (name, bad_name) = name_of(&name)?;
    let problem = if record.flags().is_encrypted() {
        Some("it is encrypted: pack it without a password")
    } else if record.mode().is_symlink() {
        Some("it is a link: put the image itself into the archive")
    } else {
        None
    };
    Some(Head {
        index,
        name,
        size: record.uncompressed_size_hint(),
        problem: bad_name.or(problem.map(str::to_owned)),
    })
}

impl Members for ZipMembers {
    fn position(&self) -> ArchivePosition {
        self.position
    }

    fn go_to(&mut self, position: ArchivePosition) -> Result<bool, String> {
        if position != self.position {
            self.ready.clear();
            self.is_complete = false;
            (self.read_to, self.position) = (position, position);
        }
        Ok(true)
    }

    fn next(&mut self) -> Result<Option<Head>, String> {
        while self.ready.is_empty() && !self.is_complete {
            self.fill()?;
        }
        let Some(entry) = self.ready.pop_front() else {
            self.position = self.read_to;
            return Ok(None);
        };
        self.position = entry.behind;
        let head = entry.head.clone();
        self.last = Some(entry);
        Ok(Some(head))
    }

    fn content(&mut self, head: &Head, most: u64) -> Result<Result<Bytes, Reason>, String> {
        let Some(entry) = self.last.take() else {
            return Err("its content is read twice".to_owned());
        };
        if let Some(reason) = head.rejection(most) {
            return Ok(Err(reason));
        }
        // The members lie apart, so that the others can be read even if this one is damaged.
        Ok(match self.read(&entry, most) {
            Ok(bytes) if bytes.len() as u64 > most => Err(Reason::TooManyBytes {
                bytes: bytes.len() as u64,
                most,
            }),
            Ok(bytes) if bytes.is_empty() => Err(Reason::Empty),
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(Reason::Unreadable {
                detail: format!("damaged in the archive: {error}"),
            }),
        })
    }

    fn put_back(&mut self) {
        if let Some(entry) = self.last.take() {
            self.position = entry.at;
            self.ready.push_front(entry);
        }
    }
}
