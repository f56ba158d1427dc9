//! Reads the containers of pictures byte by byte.

use maskline_messages::Reason;

/// Reads bytes from the front. Its functions return `None` if there are too few.
pub struct ByteReader<'a>(pub &'a [u8]);

impl<'a> ByteReader<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }
}

/// The reason for a file that ends early.
pub fn truncated(detail: impl Into<String>) -> Reason {
    Reason::Truncated {
        detail: detail.into(),
    }
}
