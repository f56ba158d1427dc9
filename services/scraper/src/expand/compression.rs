//! How a file of a source is compressed, by its first bytes and never by its name.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

use crate::gzip::GzipReader;

/// How many first bytes show what a file is: a tar has its magic at 257.
pub(super) const MAGIC: usize = 512;

/// The compressions that are read, and none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// The compression of a file that begins with `first`. The error is the name of one that
    /// is not read.
    pub(super) fn of(first: &[u8]) -> Result<Self, &'static str> {
        const OTHERS: [(&[u8], &str); 7] = [
            (b"BZh", "bzip2"),
            (b"\xfd7zXZ\0", "xz"),
            (b"\x04\x22\x4d\x18", "lz4"),
            (b"7z\xbc\xaf\x27\x1c", "7z"),
            (b"Rar!\x1a\x07", "rar"),
            (b"\x1f\x9d", "compress"),
            (b"LZIP", "lzip"),
        ];
        if first.starts_with(b"\x1f\x8b") {
            return Ok(Self::Gzip);
        }
        // A Zstandard file may begin with a frame to be skipped (RFC 8878, section 3.1.2).
        let skippable = first.len() >= 4
            && (0x50..=0x5f).contains(&first[0])
            && first[1..4] == *b"\x2a\x4d\x18";
        if first.starts_with(b"\x28\xb5\x2f\xfd") || skippable {
            return Ok(Self::Zstd);
        }
        match OTHERS.iter().find(|(magic, _)| first.starts_with(magic)) {
            Some((_, name)) => Err(name),
            None => Ok(Self::None),
        }
    }

    /// The content of the file, decompressed while it is read.
    pub(super) fn reader(self, file: File) -> io::Result<Box<dyn Read + Send>> {
        self.decoder(BufReader::new(file))
    }

    /// What `bytes` hold, decompressed while it is read.
    pub(super) fn decoder<'a>(
        self,
        bytes: impl BufRead + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(bytes),
            Self::Gzip => Box::new(GzipReader::new(Box::new(bytes))),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(bytes)?),
        })
    }
}

/// The first bytes of a file, at most [`MAGIC`].
pub(super) fn first_bytes(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = vec![];
    file.take(MAGIC as u64).read_to_end(&mut first)?;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide() {
        let cases = [
            (b"\x1f\x8b\x08".as_slice(), Ok(Compression::Gzip)),
            (b"\x28\xb5\x2f\xfd\x00", Ok(Compression::Zstd)),
            (b"\x50\x2a\x4d\x18\x00", Ok(Compression::Zstd)),
            (b"BZh9", Err("bzip2")),
            (b"\xfd7zXZ\0", Err("xz")),
            (b"url,label", Ok(Compression::None)),
            (b"", Ok(Compression::None)),
        ];
        for (first, expected) in cases {
            assert_eq!(Compression::of(first), expected, "{first:?}");
        }
    }
}
