//! Paths as text. The name of a file may be any bytes, and text is UTF-8: so a path that is not
//! UTF-8 is written as a `file:` URL in its shortest form (RFC 8089), `file:/photos/b%FF.jpg`.

use std::{
    borrow::Cow,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

use crate::text::printable;

/// What a path that is written as a URL begins with.
const SCHEME: &str = "file:";

/// The characters that are encoded in such a path, besides all that are not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"').add(b'#').add(b'?');

/// The whole path as text. [`from_text`] makes the same path of it. Nearly every path is its own
/// text.
pub fn to_text(path: &Path) -> Cow<'_, str> {
    match path.to_str() {
        Some(text) if !text.starts_with(SCHEME) => Cow::Borrowed(text),
        _ => {
            let encoded = percent_encode(path.as_os_str().as_bytes(), ENCODED);
            Cow::Owned(format!("{SCHEME}{encoded}"))
        }
    }
}

/// The path that [`to_text`] wrote.
pub fn from_text(text: &str) -> PathBuf {
    match text.strip_prefix(SCHEME) {
        Some(encoded) => {
            let bytes: Cow<'_, [u8]> = percent_decode_str(encoded).into();
            PathBuf::from(OsStr::from_bytes(&bytes))
        }
        None => PathBuf::from(text),
    }
}

/// The whole path as a terminal, a log or an error may show it.
pub fn shown(path: &Path) -> String {
    printable(&to_text(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_kept_whole() {
        let cases: [(&[u8], &str); 6] = [
            (b"/photos/a.jpg", "/photos/a.jpg"),
            ("/fotos/é %41.jpg".as_bytes(), "/fotos/é %41.jpg"),
            (b"/photos/b\xff%.jpg", "file:/photos/b%FF%25.jpg"),
            (b"caf\xe9/1 2.jpg", "file:caf%E9/1%202.jpg"),
            (b"file:/x%41", "file:file:/x%2541"),
            (b"", ""),
        ];
        for (bytes, text) in cases {
            let path = Path::new(OsStr::from_bytes(bytes));
            assert_eq!(to_text(path), text);
            assert_eq!(from_text(text), path);
        }
        let path = Path::new(OsStr::from_bytes(b"/a\x1b[2J\xff"));
        assert_eq!(shown(path), "file:/a%1B[2J%FF");
        assert_eq!(shown(Path::new("/a\u{1b}[2J")), "/a\\u{1b}[2J");
    }
}
