//! The decoder of gzip (RFC 1952), for files and for the bodies of answers.
//!
//! Some writers fill the last block of a file with zeros, and some servers send more than the body
//! that they have encoded. As gzip(1), curl and browsers do, this decoder ignores what comes after
//! the last member.

use std::{
    io::{self, BufRead, Read},
    mem,
};

use flate2::bufread::GzDecoder;

/// The first byte of each member.
const MAGIC: u8 = 0x1f;

type Input<'a> = Box<dyn BufRead + Send + 'a>;

/// The content of all members of a gzip file, one after the other.
pub(crate) struct GzipReader<'a>(GzDecoder<Input<'a>>);

impl<'a> GzipReader<'a> {
    pub(crate) fn new(file: Input<'a>) -> Self {
        Self(GzDecoder::new(file))
    }
}

impl Read for GzipReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let read = self.0.read(into)?;
            let rest = self.0.get_mut();
            if read > 0 || rest.fill_buf()?.first() != Some(&MAGIC) {
                return Ok(read);
            }
            let rest = mem::replace(rest, Box::new(io::empty()));
            self.0.reset(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What is read from a file, of which each call of the system gives so many bytes.
    fn content(file: &[u8], at_once: usize) -> io::Result<String> {
        let file = io::BufReader::with_capacity(at_once, file);
        let mut content = String::new();
        GzipReader::new(Box::new(file)).read_to_string(&mut content)?;
        Ok(content)
    }

    #[test]
    fn what_comes_after_the_last_member_is_ignored() {
        let (one, two) = (gzip(b"masks, "), gzip(b"and faces"));
        let rests: [&[u8]; 5] = [b"", b"\0", &[0; 600], b"<!-- served in 3 ms -->", b"\r\n"];
        for rest in rests {
            for at_once in [1, 7, 1 << 16] {
                let file = [&one, rest].concat();
                assert_eq!(content(&file, at_once).unwrap(), "masks, ");
                let file = [&one, &gzip(b""), &two, rest].concat();
                assert_eq!(content(&file, at_once).unwrap(), "masks, and faces");
            }
        }
    }

    #[test]
    fn a_member_that_is_damaged_or_cut_is_an_error() {
        let one = gzip(b"masks");
        let mut damaged = one.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let cut = &one[..one.len() - 1];
        let files = [
            b"masks".to_vec(),
            damaged.clone(),
            [&one, &*damaged].concat(),
            cut.to_vec(),
            [&one, cut].concat(),
            [&one, &one[..5]].concat(),
            // The content is whole, and the checksum is not.
            [cut, b"garbage"].concat(),
        ];
        for file in files {
            content(&file, 1 << 16).unwrap_err();
        }
        assert_eq!(
            content(b"", 1).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
