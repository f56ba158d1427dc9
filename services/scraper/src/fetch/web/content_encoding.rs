//! The encodings of a body (RFC 9110, section 8.4), which some servers use although nobody asked
//! for them.
//!
//! reqwest can decode gzip, but neither what is called `x-gzip` or in capitals, nor one encoding
//! within another, nor the deflate of those servers that leave out its header.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, ZlibDecoder};
use maskline_foundation::{ByteRoom, text::shortened};
use maskline_messages::{ImageId, Reason};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::{fetch::error::FetchError, gzip::GzipReader};

/// The encodings that are asked for.
pub(super) const ACCEPTED: &str = "gzip";

/// How many encodings a body may have, one within the other.
const MOST: usize = 3;

/// The window of Zstandard for contents of the web, as a power of two (RFC 9659).
const ZSTD_WINDOW: u32 = 23;

/// How many bytes are decoded before others have their turn.
const PIECE: u64 = 1 << 20;

/// An encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Encoding {
    /// How many bytes of memory its decoder takes at most: that of its window, above all.
    fn memory(self) -> u64 {
        match self {
            Self::Gzip | Self::Deflate => 64 << 10,
            Self::Brotli => 17 << 20,
            Self::Zstd => (1 << ZSTD_WINDOW) + (1 << 20),
        }
    }

    /// The body as it was before this encoding.
    fn decoder<'a>(self, mut body: Box<dyn BufRead + Send + 'a>) -> io::Result<BoxedReader<'a>> {
        Ok(match self {
            Self::Gzip => Box::new(GzipReader::new(body)),
            Self::Deflate => match has_zlib_header(body.fill_buf()?) {
                true => Box::new(ZlibDecoder::new(body)),
                false => Box::new(DeflateDecoder::new(body)),
            },
            Self::Brotli => Box::new(brotli::Decompressor::new(body, 64 << 10)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Box::new(decoder)
            }
        })
    }
}

type BoxedReader<'a> = Box<dyn Read + Send + 'a>;

/// Returns whether a deflated body begins as RFC 1950 says (section 2.2). Some servers send what
/// belongs within.
fn has_zlib_header(begin: &[u8]) -> bool {
    match begin {
        [method, flags, ..] => {
            method & 15 == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

/// The encodings of a body, in the order in which they were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContentEncoding(Vec<Encoding>);

impl ContentEncoding {
    /// The encodings that an answer names. One that is not known is a reason to reject.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Reason> {
        let mut encodings = vec![];
        for value in headers.get_all(CONTENT_ENCODING) {
            let value = String::from_utf8_lossy(value.as_bytes());
            for name in value.split(',').map(str::trim) {
                encodings.push(match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Encoding::Gzip,
                    "deflate" => Encoding::Deflate,
                    "br" => Encoding::Brotli,
                    "zstd" => Encoding::Zstd,
                    _ => {
                        return Err(undecodable(format!(
                            "the answer has the Content-Encoding {:?}, which is not read",
                            shortened(name, 40)
                        )));
                    }
                });
            }
        }
        match encodings.len() {
            0..=MOST => Ok(Self(encodings)),
            more => Err(undecodable(format!(
                "the answer has {more} encodings, one within the other"
            ))),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The body as it was before it was encoded, of which the caller takes `most` bytes at most.
    /// What comes of any of its encodings is bounded: encoding it again makes no text twice as
    /// long.
    pub(super) fn reader<'a>(
        &self,
        body: impl BufRead + Send + 'a,
        most: u64,
    ) -> io::Result<BoxedReader<'a>> {
        let mut body: Box<dyn BufRead + Send + 'a> = Box::new(body);
        for encoding in self.0.iter().rev() {
            let decoder = encoding.decoder(body)?.take(2 * most + PIECE);
            body = Box::new(BufReader::new(decoder));
        }
        Ok(Box::new(body))
    }

    /// Decodes a whole body, of at most `most` bytes, and grows the room by what that takes.
    pub(super) async fn decode(
        self,
        body: Vec<u8>,
        most: u64,
        room: &mut ByteRoom,
    ) -> Result<(Bytes, ImageId), FetchError> {
        let memory: u64 = self.0.iter().map(|encoding| encoding.memory()).sum();
        let held = body.len() as u64 + memory;
        room.grow_to(held).await;
        let mut decoding = Decoding {
            reader: self.reader(Cursor::new(body), most).map_err(broken)?,
            bytes: vec![],
            digest: Sha256::new(),
        };
        loop {
            let piece = move || decoding.piece().map(|is_whole| (decoding, is_whole));
            let is_whole;
            (decoding, is_whole) = blocking(piece).await?;
            let bytes = decoding.bytes.len() as u64;
            if bytes > most {
                return Err(FetchError::too_many_bytes(bytes, most));
            }
            room.grow_to(held + bytes).await;
            if is_whole {
                let image = ImageId::from_digest(decoding.digest.finalize().into());
                return Ok((decoding.bytes.into(), image));
            }
        }
    }

    /// Decodes the beginning of a body, at most `most` bytes: up to its end, or to where it is
    /// broken or cut.
    pub(super) async fn decode_beginning(
        self,
        body: Vec<u8>,
        most: usize,
    ) -> Result<Vec<u8>, FetchError> {
        /// One at a time, because of the memory that a decoder takes.
        static DECODING: Semaphore = Semaphore::const_new(1);
        let _permit = DECODING.acquire().await.map_err(FetchError::retry)?;
        blocking(move || {
            let mut begin = vec![];
            let read = self.reader(Cursor::new(body), most as u64);
            let read = read.and_then(|reader| reader.take(most as u64).read_to_end(&mut begin));
            if let Err(error) = read {
                tracing::debug!(%error, "only the beginning of a body can be decoded");
            }
            Ok(begin)
        })
        .await
    }
}

/// A body that is being decoded.
struct Decoding {
    reader: BoxedReader<'static>,
    bytes: Vec<u8>,
    digest: Sha256,
}

impl Decoding {
    /// Decodes the next bytes. Returns whether these were the last ones.
    fn piece(&mut self) -> io::Result<bool> {
        let begin = self.bytes.len();
        let read = self
            .reader
            .by_ref()
            .take(PIECE)
            .read_to_end(&mut self.bytes)?;
        self.digest.update(&self.bytes[begin..]);
        Ok(read < PIECE as usize)
    }
}

/// Does work on a thread that may block. Its errors are those of a broken body.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, FetchError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(FetchError::retry)?.map_err(broken)
}

/// What is wrong with a body whose decoder fails. The next answer would be the same.
pub(super) fn broken(error: io::Error) -> FetchError {
    undecodable(format!("the compressed answer is broken: {error}")).into()
}

fn undecodable(detail: String) -> Reason {
    Reason::Undecodable { detail }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use maskline_foundation::ByteBudget;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![], Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bare_deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(vec![], Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn brotli(bytes: &[u8]) -> Vec<u8> {
        let mut encoded = vec![];
        let mut encoder = ::brotli::CompressorWriter::new(&mut encoded, 4096, 5, 22);
        encoder.write_all(bytes).unwrap();
        drop(encoder);
        encoded
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ::zstd::encode_all(bytes, 1).unwrap()
    }

    /// Zstandard with a window that no content of the web may have.
    fn zstd_with_a_large_window(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ::zstd::stream::Encoder::new(vec![], 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn named(names: &[&str]) -> Result<ContentEncoding, Reason> {
        let headers = names
            .iter()
            .map(|name| (CONTENT_ENCODING, name.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        ContentEncoding::of(&map)
    }

    async fn decoded(names: &[&str], body: &[u8], most: u64) -> Result<Bytes, FetchError> {
        let mut room = ByteBudget::new(64 << 20).room(1).await;
        let encoding = named(names)?;
        let (bytes, image) = encoding.decode(body.to_vec(), most, &mut room).await?;
        assert_eq!(image, ImageId::of(&bytes));
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_body_is_decoded_whatever_its_server_calls_the_encoding() {
        let text: Vec<u8> = (0..3 * PIECE as u32 / 4)
            .flat_map(u32::to_le_bytes)
            .collect();
        let cases: [(&[&str], Vec<u8>); 11] = [
            (&["gzip"], gzip(&text)),
            (&["X-GZip"], gzip(&text)),
            (
                &["gzip"],
                [gzip(&text[..1000]), gzip(&text[1000..])].concat(),
            ),
            (&["gzip"], [gzip(&text), vec![0; 100]].concat()),
            (&["deflate"], zlib(&text)),
            (&["deflate"], bare_deflate(&text)),
            (&["br"], brotli(&text)),
            (&["ZSTD"], zstd(&text)),
            (&["gzip, br"], brotli(&gzip(&text))),
            (&["zstd", "identity", "gzip"], gzip(&zstd(&text))),
            (&["identity"], text.clone()),
        ];
        for (names, body) in cases {
            let bytes = decoded(names, &body, text.len() as u64).await;
            assert!(bytes.unwrap() == text, "{names:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_decoded_is_named() {
        let large = zstd_with_a_large_window(&vec![7; 1 << 20]);
        let cases: [(&[&str], &[u8], &str); 5] = [
            (&["compress"], b"x", "Content-Encoding \"compress\""),
            (&["gzip, gzip, gzip, gzip"], b"x", "4 encodings"),
            (&["gzip"], &gzip(&[7; 1000])[..20], "is broken"),
            (&["br"], b"\xff\xff\xff\xff", "is broken"),
            (&["zstd"], &large, "is broken"),
        ];
        for (names, body, expected) in cases {
            match decoded(names, body, 10 << 20).await {
                Err(FetchError::Rejected(Reason::Undecodable { detail })) => {
                    assert!(detail.contains(expected), "{detail}");
                }
                other => panic!("{names:?}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_becomes_too_large_is_rejected_before_it_is_whole() {
        let zeros = vec![0; 40 << 20];
        for (name, body) in [
            ("gzip", gzip(&zeros)),
            ("br", brotli(&zeros)),
            ("zstd", zstd(&zeros)),
        ] {
            let most = 3 << 20;
            match decoded(&[name], &body, most).await {
                Err(FetchError::Rejected(Reason::TooManyBytes { bytes, .. })) => {
                    assert!(bytes <= most + PIECE, "{bytes}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn of_a_body_that_is_cut_the_beginning_is_decoded() {
        let text = b"User-agent: *\nDisallow: /\n".repeat(1000);
        let encoded = gzip(&text);
        let cut = encoded[..encoded.len() - 4].to_vec();
        let begin = named(&["gzip"]).unwrap().decode_beginning(cut, 500).await;
        assert_eq!(begin.unwrap(), text[..500]);
    }
}
