//! The names that lists and datasets have for the same column.

/// The names of a column of URLs, the surest first: those of img2dataset's documentation, of
/// Hugging Face's datasets, of Open Images and of Unsplash.
pub(super) const URL: [&str; 9] = [
    "url",
    "image_url",
    "imageurl",
    "img_url",
    "photo_image_url",
    "originalurl",
    "content_url",
    "contenturl",
    "uri",
];

/// The names of a column of labels, the surest first.
pub(super) const LABEL: [&str; 6] = ["label", "class", "class_name", "labels", "category", "cls"];

/// The names of a column of files in a Hugging Face image folder.
pub(super) const FILE: [&str; 1] = ["file_name"];

/// The names of a column of images in a dataset, which are bytes and not URLs.
pub(super) const IMAGE: [&str; 6] = ["image", "img", "jpg", "picture", "photo", "image_bytes"];

/// The index of the column that is called `asked`, or else of the first that has one of the
/// `usual` names. Small and capital letters are the same, unless two columns differ in nothing
/// else.
pub(super) fn find<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    asked: Option<&str>,
    usual: &[&str],
) -> Option<usize> {
    let exact = |wanted: &str| names.clone().position(|name| name == wanted);
    let alike = |wanted: &str| names.clone().position(|name| is_column(name, wanted));
    match asked {
        Some(asked) => exact(asked).or_else(|| alike(asked)),
        None => usual.iter().find_map(|name| alike(name)),
    }
}

/// The names as an error shows them.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 40;
    let mut names = names.map(|name| maskline_foundation::text::shortened(name, 60));
    let mut listed: Vec<_> = names.by_ref().take(MOST).collect();
    match names.count() {
        0 => {}
        more => listed.push(format!("and {more} more")),
    }
    listed.join(", ")
}

/// Returns whether this name is that of the column `column`. A name in the first line of a CSV
/// may be in quotes, and have a byte order mark before it.
fn is_column(name: &str, column: &str) -> bool {
    let name = name.trim_start_matches('\u{feff}').trim();
    name.trim_matches('"').trim().eq_ignore_ascii_case(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_found_by_any_of_its_names() {
        let url = |names: &[&str], asked| find(names.iter().copied(), asked, &URL);
        assert_eq!(url(&["TEXT", "URL"], None), Some(1));
        assert_eq!(url(&["\u{feff}\"Image_URL\"", "key"], None), Some(0));
        assert_eq!(url(&["uri", "url"], None), Some(1));
        assert_eq!(url(&["thumb", "url"], Some("thumb")), Some(0));
        assert_eq!(url(&["Thumb", "thumb"], Some("thumb")), Some(1));
        assert_eq!(url(&["thumb", "url"], Some("small")), None);
        assert_eq!(url(&["address"], None), None);
    }
}
