//! Recognizes what a file is by its first bytes.

use maskline_messages::Format;

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image that can be decoded.
    Image(Format),
    /// An image of a format that can't be decoded here, with the format's name.
    OtherImage(&'static str),
    /// Something else, with the name of what it looks like.
    NoImage(&'static str),
}

/// The number of bytes of a text that are examined.
const TEXT: usize = 1024;

impl Kind {
    /// The kind of a file with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        binary(bytes).unwrap_or_else(|| text(bytes))
    }
}

fn binary(bytes: &[u8]) -> Option<Kind> {
    use Kind::{Image, NoImage, OtherImage};
    let kinds: [(&[u8], Kind); 29] = [
        (b"\xFF\xD8\xFF", Image(Format::Jpeg)),
        (b"\x89PNG\r\n\x1A\n", Image(Format::Png)),
        (b"GIF87a", Image(Format::Gif)),
        (b"GIF89a", Image(Format::Gif)),
        (b"II*\0", Image(Format::Tiff)),
        (b"MM\0*", Image(Format::Tiff)),
        // BigTIFF
        (b"II+\0", Image(Format::Tiff)),
        (b"MM\0+", Image(Format::Tiff)),
        (b"\0\0\x01\0", OtherImage("ICO")),
        (b"8BPS", OtherImage("PSD")),
        (b"\xFF\x0A", OtherImage("JPEG XL")),
        (b"\0\0\0\x0CJXL \r\n\x87\n", OtherImage("JPEG XL")),
        (b"\0\0\0\x0CjP  \r\n\x87\n", OtherImage("JPEG 2000")),
        (b"\xFF\x4F\xFF\x51", OtherImage("JPEG 2000")),
        (b"qoif", OtherImage("QOI")),
        (b"DDS ", OtherImage("DDS")),
        (b"v/1\x01", OtherImage("OpenEXR")),
        (b"\x8AMNG", OtherImage("MNG")),
        (b"P5\n", OtherImage("PGM")),
        (b"P6\n", OtherImage("PPM")),
        (b"%PDF-", NoImage("pdf")),
        (b"%!PS", NoImage("postscript")),
        (b"PK\x03\x04", NoImage("zip")),
        (b"\x1F\x8B", NoImage("gzip")),
        (b"7z\xBC\xAF\x27\x1C", NoImage("7z")),
        (b"Rar!\x1A\x07", NoImage("rar")),
        (b"\x1A\x45\xDF\xA3", NoImage("webm")),
        (b"OggS", NoImage("ogg")),
        (b"ID3", NoImage("mp3")),
    ];
    let begins = kinds
        .into_iter()
        .find(|(magic, _)| bytes.starts_with(magic));
    begins
        .map(|(_, kind)| kind)
        .or_else(|| riff(bytes))
        .or_else(|| media(bytes))
        .or_else(|| bmp(bytes))
}

fn riff(bytes: &[u8]) -> Option<Kind> {
    if !bytes.starts_with(b"RIFF") {
        return None;
    }
    Some(match bytes.get(8..12)? {
        b"WEBP" => Kind::Image(Format::Webp),
        b"AVI " => Kind::NoImage("avi"),
        b"WAVE" => Kind::NoImage("wav"),
        _ => Kind::NoImage("riff"),
    })
}

/// The kind of an ISO base media file (ISO/IEC 14496-12), by its major brand.
fn media(bytes: &[u8]) -> Option<Kind> {
    if bytes.get(4..8)? != b"ftyp" {
        return None;
    }
    Some(match bytes.get(8..12)? {
        b"avif" | b"avis" => Kind::OtherImage("AVIF"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => {
            Kind::OtherImage("HEIC")
        }
        b"crx " => Kind::OtherImage("CR3"),
        _ => Kind::NoImage("mp4"),
    })
}

/// A BMP begins with two letters that many texts begin with, so the size of the next
/// header must be one that exists.
fn bmp(bytes: &[u8]) -> Option<Kind> {
    let size = bytes.strip_prefix(b"BM")?.get(12..16)?;
    let size = u32::from_le_bytes(size.try_into().expect("four bytes"));
    matches!(size, 12 | 40 | 52 | 56 | 64 | 108 | 124).then_some(Kind::Image(Format::Bmp))
}

fn text(bytes: &[u8]) -> Kind {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let beginning = &bytes[..bytes.len().min(TEXT)];
    let text = match std::str::from_utf8(beginning) {
        Ok(text) => text,
        // The text may be cut within a character, or be in an older encoding. The part
        // before that is still text.
        Err(error) => std::str::from_utf8(&beginning[..error.valid_up_to()]).unwrap_or_default(),
    };
    let text = text.trim_start().to_ascii_lowercase();
    let begins = |tags: &[&str]| tags.iter().any(|tag| text.starts_with(tag));
    let is_plain = text.chars().all(|c| !c.is_control() || c.is_whitespace());
    if begins(&["<svg"]) || (begins(&["<?xml", "<!--", "<!doctype svg"]) && text.contains("<svg")) {
        Kind::OtherImage("SVG")
    } else if begins(&[
        "<!doctype html",
        "<html",
        "<head",
        "<body",
        "<title",
        "<script",
        "<div",
    ]) || (begins(&["<?xml", "<!--"]) && text.contains("<html"))
    {
        Kind::NoImage("html")
    } else if begins(&["<?xml"]) {
        Kind::NoImage("xml")
    } else if is_plain && begins(&["{", "["]) {
        Kind::NoImage("json")
    } else if is_plain && text.len() >= 8 {
        Kind::NoImage("text")
    } else {
        Kind::NoImage("unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_known_by_their_beginning() {
        let cases: [(&[u8], Kind); 15] = [
            (b"\xFF\xD8\xFF\xE0", Kind::Image(Format::Jpeg)),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Kind::Image(Format::Webp)),
            (b"II+\0\x08\0\0\0", Kind::Image(Format::Tiff)),
            (b"RIFF\x10\0\0\0WAVEfmt ", Kind::NoImage("wav")),
            (b"\0\0\0\x20ftypavif\0\0\0\0", Kind::OtherImage("AVIF")),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Kind::OtherImage("HEIC")),
            (b"\0\0\0\x20ftypisom\0\0\0\0", Kind::NoImage("mp4")),
            (b"%PDF-1.7", Kind::NoImage("pdf")),
            (b"\xEF\xBB\xBF\n <!DOCTYPE html><p>", Kind::NoImage("html")),
            (b"<?xml version=\"1.0\"?>\n<svg>", Kind::OtherImage("SVG")),
            (b"<?xml version=\"1.0\"?>\n<rss>", Kind::NoImage("xml")),
            (b"{\"error\": 404}", Kind::NoImage("json")),
            (b"no such picture", Kind::NoImage("text")),
            (b"BM, said the reader, is no bitmap", Kind::NoImage("text")),
            (b"\x13\x07\x99\xF1\xCE\x01", Kind::NoImage("unknown")),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Kind::of(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
