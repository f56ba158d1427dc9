//! What a source says about an image, made [`Provenance`].
//!
//! Everything is bounded, because a list may have millions of lines with a novel in each: a
//! text is cut at [`MAX_TEXT`] characters, and of the other columns the first [`MAX_OTHER`] are
//! kept, as long as they have no more than [`MAX_OTHER_BYTES`] bytes together.

use maskline_foundation::text::{first_chars, shortened};
use maskline_messages::{Provenance, is_too_long, without_secrets};
use url::Url;

/// How many characters of a text are kept.
const MAX_TEXT: usize = 500;

/// How many columns without a field of their own are kept.
pub(super) const MAX_OTHER: usize = 32;

/// How many bytes those columns have together, with their names.
const MAX_OTHER_BYTES: usize = 4 << 10;

/// How many characters the name of such a column has.
const MAX_NAME: usize = 64;

/// A field of [`Provenance`], with the columns that hold it.
const FIELDS: [(Field, &[&str]); 7] = [
    (
        Field::LandingPage,
        &[
            "landing_page",
            "foreign_landing_url",
            "page_url",
            "landing_url",
            "original_landing_url",
            "originallandingurl",
            "descriptionurl",
            "photo_url",
            "source_page",
        ],
    ),
    (
        Field::Title,
        &["title", "caption", "alt", "alt_text", "text", "top_caption"],
    ),
    (
        Field::Creator,
        &[
            "creator",
            "author",
            "artist",
            "photographer",
            "photographer_username",
            "owner_name",
            "uname",
        ],
    ),
    (
        Field::CreatorUrl,
        &[
            "creator_url",
            "author_url",
            "authorprofileurl",
            "artist_url",
        ],
    ),
    (Field::License, &["license", "licence", "rights"]),
    (
        Field::LicenseUrl,
        &["license_url", "licence_url", "licenseurl"],
    ),
    (Field::Attribution, &["attribution", "credit"]),
];

#[derive(Clone, Copy)]
enum Field {
    LandingPage,
    Title,
    Creator,
    CreatorUrl,
    License,
    LicenseUrl,
    Attribution,
}

/// The provenance that the columns of a row tell, each a name and a text.
pub(super) fn of_columns<'a>(
    columns: impl Iterator<Item = (&'a str, std::borrow::Cow<'a, str>)>,
) -> Provenance {
    let mut provenance = Provenance::default();
    let mut left = MAX_OTHER_BYTES;
    for (name, text) in columns {
        let text = clean(&text);
        if text.is_empty() || take_field(&mut provenance, name, &text) {
            continue;
        }
        let name = first_chars(name.trim(), MAX_NAME).to_owned();
        let bytes = name.len() + text.len();
        if provenance.other.len() < MAX_OTHER && bytes <= left && !name.is_empty() {
            left -= bytes;
            provenance.other.insert(name, text);
        }
    }
    provenance
}

/// Puts the text into the field that has such a name. A field that has a text keeps it, and a
/// text that does not fit its field goes to the others.
fn take_field(provenance: &mut Provenance, name: &str, text: &str) -> bool {
    let is_named = |(_, names): &&(Field, &[&str])| {
        let mut names = names.iter();
        names.any(|known| name.trim().eq_ignore_ascii_case(known))
    };
    let Some((field, _)) = FIELDS.iter().find(is_named) else {
        return false;
    };
    match field {
        Field::LandingPage => put(&mut provenance.landing_page, web_address(text)),
        Field::Title => put(&mut provenance.title, Some(text.to_owned())),
        Field::Creator => put(&mut provenance.creator, Some(text.to_owned())),
        Field::CreatorUrl => put(&mut provenance.creator_url, web_address(text)),
        // Some write the licence's address into the column for its name.
        Field::License => match web_address(text) {
            Some(url) => put(&mut provenance.license_url, Some(url)),
            None => put(&mut provenance.license, Some(license(text))),
        },
        Field::LicenseUrl => put(&mut provenance.license_url, web_address(text)),
        Field::Attribution => put(&mut provenance.attribution, Some(text.to_owned())),
    }
}

fn put<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    let takes = field.is_none() && value.is_some();
    if takes {
        *field = value;
    }
    takes
}

/// The provenance of an image that was found in a page, with the text that describes it there.
pub(super) fn of_page(page: &Url, description: Option<&str>) -> Provenance {
    Provenance {
        landing_page: Some(without_secrets(page)),
        title: description.map(clean).filter(|text| !text.is_empty()),
        ..Provenance::default()
    }
}

/// A licence's name as [`Provenance`] has it: `CC BY-SA 4.0` is `by-sa 4.0`.
fn license(text: &str) -> String {
    let text = text.to_lowercase();
    let short = text.strip_prefix("creative commons ").unwrap_or(&text);
    let short = short
        .strip_prefix("cc ")
        .or_else(|| short.strip_prefix("cc-"));
    short.unwrap_or(&text).trim().to_owned()
}

fn web_address(text: &str) -> Option<Url> {
    let url = text.parse::<Url>().ok()?;
    let is_usable = matches!(url.scheme(), "http" | "https") && !is_too_long(&url);
    is_usable.then(|| without_secrets(&url))
}

/// The text in one line, without control characters, and not too long.
pub(super) fn clean(text: &str) -> String {
    // Most of a text that is much too long need not be looked at.
    let text = first_chars(text, 4 * MAX_TEXT);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    shortened(&words.join(" "), MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(columns: &[(&str, &str)]) -> Provenance {
        of_columns(columns.iter().map(|(name, text)| (*name, (*text).into())))
    }

    #[test]
    fn known_columns_have_a_field_and_the_others_are_kept_by_name() {
        let found = of(&[
            ("TEXT", " a face\n\twith a \u{1b}mask "),
            ("Artist", "Ana"),
            ("licence", "CC BY-SA 4.0"),
            (
                "license_url",
                "https://creativecommons.org/licenses/by-sa/4.0/",
            ),
            (
                "foreign_landing_url",
                "https://me:hunter2@site/1?sig=hunter2",
            ),
            ("credit", "Ana, CC BY-SA"),
            ("width", "640"),
            ("empty", "  "),
        ]);
        assert_eq!(found.title.as_deref(), Some("a face with a mask"));
        assert_eq!(found.creator.as_deref(), Some("Ana"));
        assert_eq!(found.license.as_deref(), Some("by-sa 4.0"));
        let url = |url: Option<Url>| url.map(String::from).unwrap_or_default();
        assert_eq!(
            url(found.license_url),
            "https://creativecommons.org/licenses/by-sa/4.0/"
        );
        assert_eq!(url(found.landing_page), "https://site/1?sig=REDACTED");
        assert_eq!(found.attribution.as_deref(), Some("Ana, CC BY-SA"));
        assert_eq!(found.other, [("width".to_owned(), "640".to_owned())].into());
    }

    #[test]
    fn what_does_not_fit_a_field_is_kept_beside_it() {
        let found = of(&[("title", "a"), ("caption", "b"), ("page_url", "no address")]);
        assert_eq!(found.title.as_deref(), Some("a"));
        assert_eq!(found.other["caption"], "b");
        assert_eq!(found.other["page_url"], "no address");
        let found = of(&[(
            "license",
            "https://creativecommons.org/publicdomain/zero/1.0/",
        )]);
        assert!(found.license.is_none() && found.license_url.is_some());
    }

    #[test]
    fn provenance_is_bounded() {
        let long = "x".repeat(1 << 20);
        let names: Vec<_> = (0..1000).map(|n| format!("column {n}")).collect();
        let columns: Vec<_> = names.iter().map(|name| (name.as_str(), "y")).collect();
        assert_eq!(of(&columns).other.len(), MAX_OTHER);
        let columns: Vec<_> = names.iter().map(|name| (name.as_str(), &*long)).collect();
        let found = of(&columns);
        let bytes: usize = found.other.iter().map(|(k, v)| k.len() + v.len()).sum();
        assert!(bytes <= MAX_OTHER_BYTES, "{bytes}");
        let title = of(&[("title", &long)]).title.unwrap();
        assert_eq!(title.chars().count(), MAX_TEXT + 1);
        let found = of(&[(&long, "y")]);
        assert_eq!(found.other.keys().next().unwrap().len(), MAX_NAME);
    }
}
