//! Names that say that a file is an image.

/// The endings of images' names.
const ENDINGS: [&str; 9] = [
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff",
];

/// Returns whether a path ends like that of an image file.
pub(super) fn is_image(path: &str) -> bool {
    let bytes = path.as_bytes();
    ENDINGS.iter().any(|ending| {
        let end = bytes.len().checked_sub(ending.len()).map(|at| &bytes[at..]);
        end.is_some_and(|end| end.eq_ignore_ascii_case(ending.as_bytes()))
    })
}

/// Returns whether a text has an ending of images anywhere, as in `a.jpg?width=640`.
pub(super) fn has_image_ending(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    ENDINGS.iter().any(|ending| {
        let mut found = text.match_indices(ending);
        found.any(|(at, _)| ends(&text[at + ending.len()..]))
    })
}
