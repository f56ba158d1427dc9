//! The bytes of a tar, decompressed, with what reading it member by member needs: they are
//! counted, bounded, and the last header can be read again.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::limits::check_size;
use crate::expand::compression::Compression;

pub(super) struct TarStream {
    content: Box<dyn Read + Send>,
    /// The file, if the stream can be entered anywhere.
    seekable: Option<File>,
    /// The bytes of the file that were read so far.
    packed: Arc<AtomicU64>,
    /// The bytes of the stream before the next one.
    offset: u64,
    /// How many bytes may be read until [`allow`](Self::allow) is called again.
    left: u64,
    /// What was read since [`mark`](Self::mark).
    since_mark: Vec<u8>,
    is_marked: bool,
    /// What is to be read again, before anything else.
    again: io::Cursor<Vec<u8>>,
}

impl TarStream {
    pub(super) fn open(file: File, compression: Compression) -> io::Result<Self> {
        let seekable = match compression {
            Compression::None => Some(file.try_clone()?),
            _ => None,
        };
        let packed = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            file,
            read: packed.clone(),
        };
        Ok(Self {
            content: compression.decoder(BufReader::new(counted))?,
            seekable,
            packed,
            offset: 0,
            left: u64::MAX,
            since_mark: vec![],
            is_marked: false,
            again: io::Cursor::default(),
        })
    }

    /// The bytes of the stream before the next one.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on to an offset that was not passed yet. What lies between is read where the stream
    /// can't be entered anywhere.
    pub(super) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        self.left = u64::MAX;
        self.is_marked = false;
        // A few bytes are read faster than sought, and may be those in the buffer.
        const WORTH_SEEKING: u64 = 1 << 20;
        let far = offset.saturating_sub(self.offset) > WORTH_SEEKING;
        if let Some(file) = self.seekable.as_mut().filter(|_| far) {
            let length = file.metadata()?.len();
            if offset > length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.seek(SeekFrom::Start(offset))?;
            let file = file.try_clone()?;
            self.content = Box::new(BufReader::new(file));
            self.again = io::Cursor::default();
            self.offset = offset;
            return Ok(());
        }
        let between = offset.saturating_sub(self.offset);
        let skipped = io::copy(&mut self.by_ref().take(between), &mut io::sink())?;
        match skipped == between {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Allows so many bytes to be read. Then reading fails.
    pub(super) fn allow(&mut self, bytes: u64) {
        self.left = bytes;
    }

    /// Begins to remember what is read, for [`rewind`](Self::rewind).
    pub(super) fn mark(&mut self) {
        self.since_mark.clear();
        self.is_marked = true;
    }

    /// Forgets the mark.
    pub(super) fn unmark(&mut self) {
        self.is_marked = false;
        self.since_mark = vec![];
    }

    /// Goes back to the mark.
    pub(super) fn rewind(&mut self) {
        if !self.is_marked {
            return;
        }
        self.is_marked = false;
        self.offset -= self.since_mark.len() as u64;
        let mut again = std::mem::take(&mut self.since_mark);
        let rest = self.again.position() as usize;
        again.extend_from_slice(&self.again.get_ref()[rest..]);
        self.again = io::Cursor::new(again);
    }
}

impl Read for TarStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        if most == 0 && !bytes.is_empty() {
            return Err(io::Error::other("the headers of a member are too long"));
        }
        let most = most.min(bytes.len());
        let bytes = &mut bytes[..most];
        let mut read = self.again.read(bytes)?;
        if read == 0 {
            read = self.content.read(bytes)?;
        }
        self.left = self.left.saturating_sub(read as u64);
        self.offset += read as u64;
        if self.is_marked {
            self.since_mark.extend_from_slice(&bytes[..read]);
        }
        if self.seekable.is_none() {
            let packed = self.packed.load(Ordering::Relaxed);
            check_size(packed, self.offset).map_err(io::Error::other)?;
        }
        Ok(read)
    }
}

/// A file that counts what is read of it.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
