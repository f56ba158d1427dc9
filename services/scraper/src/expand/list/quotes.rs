//! The quotes of a CSV record.
//!
//! The CSV reader takes a quote that is never closed to include all that follows, up to the next
//! quote or the end of the file, and says nothing: the lines between would be lost.

/// What to do about a quote that is not closed.
pub(super) const NOT_CLOSED: &str =
    "a quote is not closed: close it, or double it if it is part of the text";

/// Says what is wrong with the quotes of a record, by RFC 4180, section 2: a quoted field ends
/// with a quote before a delimiter or the record's end, and a quote within it is doubled. A quote
/// within a field that is not quoted (`5" wide`) means nothing.
pub(super) fn check(record: &[u8], delimiter: u8) -> Result<(), &'static str> {
    let (mut state, mut bytes) = (Within::Begin, record.iter().peekable());
    while let Some(byte) = bytes.next() {
        state = match (state, *byte) {
            (Within::Quotes, b'"') if bytes.next_if(|next| **next == b'"').is_some() => {
                Within::Quotes
            }
            (Within::Quotes, b'"') => Within::End,
            (Within::Quotes, _) => Within::Quotes,
            (_, byte) if byte == delimiter || matches!(byte, b'\r' | b'\n') => Within::Begin,
            (Within::Begin, b'"') => Within::Quotes,
            (Within::End, b' ') => Within::End,
            (Within::End, _) => return Err(NOT_CLOSED),
            (Within::Begin | Within::Text, _) => Within::Text,
        };
    }
    match state {
        Within::Quotes => Err(NOT_CLOSED),
        _ => Ok(()),
    }
}

/// Where in a field a byte is.
#[derive(Clone, Copy)]
enum Within {
    /// At its begin.
    Begin,
    /// In its text, which is not quoted.
    Text,
    Quotes,
    /// Behind its closing quote.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_must_be_closed() {
        for good in [
            "a,b\n",
            "\"a\nb\",c\n",
            "\"say \"\"a\n\"\"\",c",
            "5\" wide\n",
            "a,\"b\" ,c",
            "",
        ] {
            assert_eq!(check(good.as_bytes(), b','), Ok(()), "{good}");
        }
        for bad in ["a,\"b\nc,d\n", "a,\"b\nc,\"d\"\n", "\"", "\"a\"\"\n"] {
            assert!(check(bad.as_bytes(), b',').is_err(), "{bad}");
        }
    }
}
