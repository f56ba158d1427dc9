//! The encoding of a text of the web, and the text in UTF-8.
//!
//! A byte order mark says most. A text that is UTF-8 is UTF-8, whatever its server says,
//! because no other encoding looks like it by chance. Then comes what the server says, then
//! what the text says itself, and then a guess.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// How many bytes of a text are looked at.
pub(super) const SAMPLE: usize = 1 << 20;

/// The encoding of a text that begins with `first`, the whole of it or [`SAMPLE`] bytes.
/// `content_type` is the media type that a server named. `None` means that nothing but a guess
/// is left.
pub(super) fn told(first: &[u8], content_type: Option<&str>) -> Option<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(first) {
        return Some(encoding);
    }
    if is_utf8(first) {
        return Some(UTF_8);
    }
    content_type.and_then(charset)
}

/// The encoding that a text most likely has, by the frequency of its letters.
pub(super) fn guessed(first: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(first, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// An HTML page in UTF-8 (HTML Standard, "determining the character encoding"), and the
/// encoding that it had.
pub(super) fn page(html: &[u8], content_type: Option<&str>) -> (String, &'static Encoding) {
    /// The standard looks for a `meta` in so many bytes.
    const HEAD: usize = 1024;
    let sample = &html[..html.len().min(SAMPLE)];
    let encoding = told(sample, content_type)
        .or_else(|| declared(&html[..html.len().min(HEAD)]))
        .unwrap_or(WINDOWS_1252);
    let (text, used, _) = encoding.decode(html);
    (text.into_owned(), used)
}

/// The encoding that a `meta` of an HTML page declares.
fn declared(head: &[u8]) -> Option<&'static Encoding> {
    let head = head.to_ascii_lowercase();
    let begin = head.windows(7).position(|word| word == b"charset")? + 7;
    let rest = String::from_utf8_lossy(&head[begin..]);
    let rest = rest.trim_start().strip_prefix('=')?;
    let name = rest.trim_start_matches(|c: char| c.is_whitespace() || "\"'".contains(c));
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c));
    let encoding = Encoding::for_label(&name.as_bytes()[..end.unwrap_or(name.len())])?;
    // The `meta` itself could not be read in any of these (HTML Standard, "prescan").
    Some(encoding.output_encoding())
}

/// The `charset` of a media type.
fn charset(content_type: &str) -> Option<&'static Encoding> {
    let parameters = content_type.split(';').skip(1);
    let mut parameters = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Encoding::for_label(value.trim().trim_matches('"').as_bytes())
}

/// Returns whether the bytes are UTF-8. The last character may be cut.
fn is_utf8(first: &[u8]) -> bool {
    match std::str::from_utf8(first) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && first.len() == SAMPLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_in_the_encoding_that_it_has() {
        let latin = b"<meta charset=\"iso-8859-1\"><img src=caf\xe9.jpg>".as_slice();
        let cyrillic =
            b"<meta http-equiv=x content='text/html; charset=windows-1251'>\xf4\xee\xf2\xee";
        let utf16: Vec<u8> = "\u{feff}café"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let cases: [(&[u8], Option<&str>, &str); 7] = [
            (latin, None, "café.jpg"),
            (cyrillic, None, "фото"),
            (b"\x83J", Some("text/html; charset=Shift_JIS"), "カ"),
            (b"\xd5\xd5", Some("text/html;charset=\"GBK\""), "照"),
            (b"caf\xe9", None, "café"),
            // A server's word does not count against bytes that are UTF-8.
            (
                "café".as_bytes(),
                Some("text/html; charset=iso-8859-1"),
                "café",
            ),
            (&utf16, None, "café"),
        ];
        for (html, content_type, expected) in cases {
            let (text, _) = page(html, content_type);
            assert!(text.contains(expected), "{text} for {expected}");
        }
    }

    #[test]
    fn the_encoding_of_a_text_without_any_word_about_it_is_guessed() {
        let cases = [
            ("http://a/visage masqué à l'hôpital, été.jpg", WINDOWS_1252),
            (
                "http://a/マスクをしたひとのしゃしん.jpg",
                encoding_rs::SHIFT_JIS,
            ),
        ];
        for (text, encoding) in cases {
            let (bytes, _, _) = encoding.encode(text);
            assert_eq!(told(&bytes, None), None);
            assert_eq!(guessed(&bytes), encoding, "{text}");
        }
    }
}
