//! The encoding of a text of the web, and the text in UTF-8.
//!
//! A byte order mark says most. A text that is UTF-8 is UTF-8, whatever its server says, because no
//! other encoding looks like it by chance, but UTF-16 and ISO-2022-JP, which are told by their
//! zeros and escapes. Then comes what the server says, then what the text says itself, and then a
//! guess.

use std::cell::Cell;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use lol_html::element;

use crate::html_parser;

/// How many bytes of a text are looked at.
pub(super) const SAMPLE: usize = 1 << 20;

/// The encoding of a text that begins with `first`, the whole of it or [`SAMPLE`] bytes.
/// `content_type` is the media type that a server named. `None` means that nothing but a guess
/// is left.
pub(super) fn told(first: &[u8], content_type: Option<&str>) -> Option<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(first) {
        return Some(encoding);
    }
    if let Some(encoding) = utf16(first) {
        return Some(encoding);
    }
    if is_utf8(first) && !has_escapes(first) {
        return Some(UTF_8);
    }
    content_type.and_then(charset)
}

/// The encoding that a text most likely has, by the frequency of its letters.
pub(super) fn guessed(first: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(first, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// An HTML page in UTF-8 (HTML Standard, "determining the character encoding"), and the
/// encoding that it had.
pub(super) fn page(html: &[u8], content_type: Option<&str>) -> (String, &'static Encoding) {
    let sample = &html[..html.len().min(SAMPLE)];
    let encoding = told(sample, content_type)
        .or_else(|| declared(sample))
        .unwrap_or_else(|| guessed(sample));
    let (text, used, _) = encoding.decode(html);
    (text.into_owned(), used)
}

/// The encoding that a `meta` of an HTML page declares, or the first line of one in XML. A `meta`
/// counts wherever it is, because a browser that finds a late one reads the page again.
fn declared(html: &[u8]) -> Option<&'static Encoding> {
    let found = Cell::new(xml_encoding(html));
    let meta = element!("meta", |meta| {
        // The content is a media type: `text/html; charset=windows-1251`.
        let is_header = meta.has_attribute("http-equiv");
        let content = meta.get_attribute("content").filter(|_| is_header);
        let named = meta.get_attribute("charset");
        let named = named.and_then(|name| Encoding::for_label(name.as_bytes()));
        let named = named.or_else(|| charset(&content?));
        found.set(found.get().or(named));
        match found.get() {
            Some(_) => Err("found".into()),
            None => Ok(()),
        }
    });
    // The last tag may be cut, and after the first word no other one is of interest.
    let _ = html_parser::parse(html, [meta]);
    // The declaration itself could not be read in UTF-16 (HTML Standard, "prescan").
    Some(found.get()?.output_encoding())
}

/// The encoding in the first line of an XML document (XML 1.0, section 4.3.3).
fn xml_encoding(head: &[u8]) -> Option<&'static Encoding> {
    let head = head.trim_ascii_start().strip_prefix(b"<?xml")?;
    let end = head.windows(2).position(|end| end == b"?>")?;
    let (_, value) = std::str::from_utf8(&head[..end])
        .ok()?
        .split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Encoding::for_label(value[1..].split(quote).next()?.as_bytes())
}

/// The `charset` of a media type.
fn charset(content_type: &str) -> Option<&'static Encoding> {
    let parameters = content_type.split(';').skip(1);
    let mut parameters = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Encoding::for_label(value.trim().trim_matches('"').as_bytes())
}

/// UTF-16, if every second byte of a text's beginning is zero, as it is for letters of English.
fn utf16(first: &[u8]) -> Option<&'static Encoding> {
    let pairs = || first[..first.len().min(256)].chunks_exact(2);
    let count = pairs().len();
    let zeros = |at: usize| pairs().filter(|pair| pair[at] == 0).count();
    match (zeros(0), zeros(1)) {
        (0, low) if low > 0 && low >= count / 2 => Some(UTF_16LE),
        (high, 0) if high > 0 && high >= count / 2 => Some(UTF_16BE),
        _ => None,
    }
}

/// Returns whether the bytes have what switches the alphabet in ISO-2022-JP.
fn has_escapes(first: &[u8]) -> bool {
    let mut pairs = first.windows(2);
    pairs.any(|pair| pair[0] == 0x1b && matches!(pair[1], b'$' | b'('))
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
    use encoding_rs::WINDOWS_1252;

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
        let bare: Vec<u8> = "<p>café"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        let japanese = b"<meta charset=iso-2022-jp>\x1b$B<L??\x1b(B".as_slice();
        let misleading = b"<!-- <meta charset=gbk> --><script charset=gbk></script>\
            <meta charset=windows-1251>\xf4\xee\xf2\xee"
            .as_slice();
        let late = [
            " ".repeat(5000).as_bytes(),
            b"<meta charset=gbk><p>\xd5\xd5<meta charset=big5>",
        ]
        .concat();
        let xml = b"<?xml version='1.0' encoding='windows-1251'?><a>\xf4\xee\xf2\xee";
        let cases: [(&[u8], Option<&str>, &str); 13] = [
            (latin, None, "café.jpg"),
            (cyrillic, None, "фото"),
            (misleading, None, "фото"),
            (&late, None, "照"),
            (xml, None, "фото"),
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
            (&bare, Some("text/html; charset=utf-16be"), "café"),
            (japanese, None, "写真"),
            (
                &japanese[26..],
                Some("text/html; charset=ISO-2022-JP"),
                "写真",
            ),
        ];
        for (html, content_type, expected) in cases {
            let (text, _) = page(html, content_type);
            assert!(text.contains(expected), "{text} for {expected}");
        }
    }

    #[test]
    fn the_encoding_of_a_page_without_any_word_about_it_is_guessed() {
        let cases = [
            ("Портреты людей в масках", encoding_rs::WINDOWS_1251),
            ("Портреты людей в масках", encoding_rs::KOI8_U),
            ("戴口罩的人的照片", encoding_rs::GBK),
            ("マスクをした人の写真", encoding_rs::SHIFT_JIS),
            ("マスクをした人の写真", encoding_rs::EUC_JP),
            ("마스크를 쓴 사람들의 사진", encoding_rs::EUC_KR),
            ("portraits masqués à l'hôpital", encoding_rs::WINDOWS_1252),
        ];
        for (title, encoding) in cases {
            let html = format!("<html><title>{title}</title><body><img src='1.jpg' alt=face>");
            let (bytes, _, _) = encoding.encode(&html);
            let (text, used) = page(&bytes, Some("text/html"));
            assert_eq!((&text, used), (&html, encoding));
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
            ("http://a/写真.jpg", encoding_rs::ISO_2022_JP),
            ("http://a/фотография в маске.jpg", encoding_rs::WINDOWS_1251),
        ];
        for (text, encoding) in cases {
            let (bytes, _, _) = encoding.encode(text);
            assert_eq!(told(&bytes, None), None);
            assert_eq!(guessed(&bytes), encoding, "{text}");
        }
    }
}
