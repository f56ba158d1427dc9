//! The picture of an `img` or a `source` element.
//!
//! Scripts that load pictures late keep the addresses in attributes of their own, and `src` is a
//! placeholder until then. Each script has its own names for them: `data-src`, `data-cfsrc`,
//! `nitro-lazy-src`. The same words are in the names of switches, numbers and links, so what a
//! value looks like counts as much as the name does.

use lol_html::html_content::{Attribute, Element};
use url::Url;

use super::{found::Found, srcset};
use crate::expand::image_names::has_image_ending;

/// What an attribute holds, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    /// Several sizes of the picture, of which a script takes one.
    LateSizes,
    /// Several sizes of the picture, or of the placeholder.
    Sizes,
    /// A large version of the picture, by its word in [`LARGE`].
    Large(usize),
    /// What a script loads.
    Late,
    /// The picture or a placeholder.
    Src,
    /// A smaller or another picture.
    Other,
}

/// Words in the names of attributes that hold a large version, the largest first.
const LARGE: [&str; 11] = [
    "orig", "full", "zoom", "large", "big", "retina", "hires", "hi-res", "high", "hd", "desktop",
];

/// Words of scripts that load late: a value with a host is a picture, whatever it looks like.
const LATE: [&str; 3] = ["lazy", "echo", "data-original"];

/// Words that say little: the value must look like the address of a picture.
const VAGUE: [&str; 10] = [
    "load", "image", "img", "pic", "photo", "file", "url", "media", "source", "bg",
];

/// Words of pictures that are smaller than `src`, or that stand in for it.
const LESSER: [&str; 15] = [
    "thumb",
    "small",
    "low",
    "lq",
    "tiny",
    "mini",
    "blur",
    "preview",
    "placeholder",
    "fallback",
    "default",
    "error",
    "loading",
    "loader",
    "hover",
];

/// Words of attributes that hold something else, which may look like the address of a picture.
const NO_PICTURE: [&str; 10] = [
    "alt", "title", "caption", "desc", "label", "name", "style", "video", "iframe", "script",
];

/// The endings of addresses that lead to something else.
const OTHER_ENDINGS: [&str; 9] = [
    ".html", ".htm", ".js", ".css", ".json", ".mp4", ".webm", ".mp3", ".pdf",
];

/// The picture of the element: one, the largest by its attributes.
pub(super) fn picture(element: &Element<'_, '_>, found: &Found) -> Option<Url> {
    let attributes = element.attributes().iter();
    let mut held: Vec<(Holds, String)> = attributes.filter_map(held).collect();
    // The sort is stable: of two that are alike the first is taken.
    held.sort_by_key(|(holds, _)| *holds);
    held.iter().find_map(|(holds, value)| match holds {
        Holds::LateSizes => sizes(value)
            .filter(|url| is_address(url))
            .find_map(|url| found.resolve(url)),
        Holds::Sizes => sizes(value).find_map(|url| found.resolve(url)),
        _ => found.resolve(value),
    })
}

/// The addresses in a `srcset`, the largest first.
fn sizes(srcset: &str) -> impl Iterator<Item = &str> {
    srcset::by_size(srcset)
        .into_iter()
        .filter(|url| may_be_picture(url))
}

/// What the attribute holds, with its value.
fn held(attribute: &Attribute<'_>) -> Option<(Holds, String)> {
    let value = attribute.value();
    let value = htmlize::unescape_attribute(&value);
    let value = value.trim();
    let holds = holds(&attribute.name(), value)?;
    Some((holds, value.to_owned()))
}

/// What an attribute with this name and this value holds.
fn holds(name: &str, value: &str) -> Option<Holds> {
    if name == "srcset" {
        return Some(Holds::Sizes);
    }
    if name == "src" {
        return may_be_picture(value).then_some(Holds::Src);
    }
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if is_code(name) || has(&NO_PICTURE) {
        return None;
    }
    let looks_like_picture = has_image_ending(value);
    if name.contains("srcset") || (name.ends_with("set") && looks_like_picture) {
        return (!has(&LESSER)).then_some(Holds::LateSizes);
    }
    if !may_be_picture(value) || !is_address(value) {
        return None;
    }
    // Where the name says little, several addresses and other texts do not count.
    let looks_like_picture = looks_like_picture
        && !value.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '|'));
    let is_late = name.contains("src") || (has(&LATE) && value.contains("//"));
    let large = LARGE.iter().position(|word| name.contains(word));
    match large {
        _ if has(&LESSER) => looks_like_picture.then_some(Holds::Other),
        Some(word) if looks_like_picture || name.contains("src") => Some(Holds::Large(word)),
        _ if is_late => Some(Holds::Late),
        _ if !looks_like_picture => None,
        _ if has(&LATE) || has(&VAGUE) => Some(Holds::Late),
        _ => Some(Holds::Other),
    }
}

/// Returns whether an attribute of this name holds code, as `onload`, `:src` and `v-lazy` do.
fn is_code(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.starts_with("on") || name.starts_with("v-") || !name.chars().all(is_plain)
}

/// Returns whether a value may be the address of a picture: not one that leads to a place in the
/// page or to something else, and not a template that a script fills in, such as `{{url}}` or
/// `face_{width}x.jpg`.
fn may_be_picture(value: &str) -> bool {
    let path = value.split(['?', '#']).next().unwrap_or_default();
    let path = path.to_ascii_lowercase();
    // A name may have a number in braces: `{3F2504E0-4F89-11D3-9A0C-0305E82C3301}`.
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let mut braces = value.split('{').skip(1);
    let is_template = braces.any(|rest| {
        !rest
            .split_once('}')
            .is_some_and(|(text, _)| is_number(text))
    }) || ["<%", "[["].iter().any(|begin| value.contains(begin));
    !value.starts_with('#')
        && !is_template
        && !OTHER_ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// Returns whether the value of a script's attribute is an address: not a switch (`true`), another
/// word (`fade-in`) or a number (`12345`, `1.5`, `16/9`).
fn is_address(value: &str) -> bool {
    let begin = value.trim_start_matches(['.', '-', '+']);
    let is_number =
        begin.starts_with(|c: char| c.is_ascii_digit()) && !value.contains(char::is_alphabetic);
    value.contains(['/', '.', '?']) && value.contains(char::is_alphanumeric) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_value_say_what_an_attribute_holds() {
        let cases = [
            ("src", "1", Some(Holds::Src)),
            ("srcset", "1 2x", Some(Holds::Sizes)),
            ("data-cfsrcset", "a 2x", Some(Holds::LateSizes)),
            ("data-bgset", "a.jpg 2x", Some(Holds::LateSizes)),
            ("data-offset", "0.5", None),
            ("data-src", "/media/42", Some(Holds::Late)),
            ("nitro-lazy-src", "a.jpg", Some(Holds::Late)),
            ("data-src", "face of a cat.jpg", Some(Holds::Late)),
            ("data-src-retina", "/media/42", Some(Holds::Large(5))),
            ("data-full-url", "a.jpg?w=9", Some(Holds::Large(1))),
            ("data-original", "//cdn/42", Some(Holds::Late)),
            ("data-original", "/photo/42", None),
            ("data-echo", "a.webp", Some(Holds::Late)),
            ("data-image", "/media/42", None),
            ("data-image", "/media/a.PNG!large", Some(Holds::Late)),
            ("data-image", "a.jpg, b.jpg", None),
            ("data-thumb-src", "a.jpg", Some(Holds::Other)),
            ("data-rollover", "a.jpg", Some(Holds::Other)),
            ("data-permalink", "https://a/photo/42", None),
            ("data-download-url", "https://a/photo/42", None),
            ("data-origin", "https://a/", None),
            ("data-image-title", "a.jpg", None),
            ("alt", "a.jpg", None),
            ("onerror", "this.src='a.jpg'", None),
            (":src", "face.src", None),
            ("v-lazy", "face.src", None),
        ];
        for (name, value, expected) in cases {
            assert_eq!(holds(name, value), expected, "{name}={value}");
        }
    }

    #[test]
    fn what_can_be_no_address_of_a_picture_is_known() {
        let none = [
            "",
            "#",
            "#top",
            "true",
            "fade-in",
            "12345",
            "1.5",
            "-0.5",
            "16/9",
            ".",
            "{{url}}",
            "{{ face.url }}",
            "/a/{size}/b.jpg",
            "${face.url}",
            "<%= face.url %>",
            "[[face.url]]",
            "{\"url\": \"a.jpg\"}",
            "film.mp4?x=1.jpg",
            "a.jpg.HTML",
        ];
        for value in none {
            assert_eq!(holds("data-src", value), None, "{value}");
        }
        let some = [
            "1.jpg",
            "/12345",
            "../12/34",
            "?id=1",
            "//cdn/{3F2504E0-4F89-11D3}.jpg",
            "写真/1",
        ];
        for value in some {
            assert_eq!(holds("data-src", value), Some(Holds::Late), "{value}");
        }
    }
}
