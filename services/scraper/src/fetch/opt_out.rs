//! What a site says against the use of an image: in the headers of the answer, or in a page.
//!
//! * `X-Robots-Tag` and `<meta name="robots">` with a directive that asks for no indexing, or
//!   for no use in machine learning. A directive may be addressed to one crawler.
//! * `tdm-reservation: 1`, as a header or in a page: the rights to text and data mining are
//!   reserved (W3C's TDM Reservation Protocol).

use lol_html::element;
use maskline_messages::Reason;
use reqwest::header::{HeaderMap, HeaderName};

use super::user_agent::PRODUCT;
use crate::html_parser;

const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
const TDM_RESERVATION: HeaderName = HeaderName::from_static("tdm-reservation");

/// The directives by which an image is not for us. `none` means `noindex` and `nofollow`.
const OPT_OUTS: [&str; 5] = ["noai", "noimageai", "noindex", "noimageindex", "none"];

/// Directives that have a value, whose name is not that of a crawler.
const WITH_VALUE: [&str; 4] = [
    "unavailable_after",
    "max-snippet",
    "max-image-preview",
    "max-video-preview",
];

/// The most bytes of what a site says that are repeated.
const MAX_SAID: usize = 60;

/// Refuses an answer whose headers say that it is not for us.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Reason> {
    let values = |name: HeaderName| headers.get_all(name).into_iter();
    for value in values(X_ROBOTS_TAG) {
        // A value need not be ASCII, and may still have a directive.
        let value = String::from_utf8_lossy(value.as_bytes());
        if let Some(directive) = opt_out(&value) {
            return Err(opted_out(format!("X-Robots-Tag: {directive}")));
        }
    }
    let reserved = |value: &[u8]| value.trim_ascii() == b"1";
    if values(TDM_RESERVATION).any(|value| reserved(value.as_bytes())) {
        return Err(opted_out("tdm-reservation: 1".to_owned()));
    }
    Ok(())
}

/// Refuses a page that says that its images are not for us.
pub(crate) fn check_page(html: &str) -> Result<(), Reason> {
    let found = std::cell::RefCell::new(None);
    let meta = element!("meta[name][content]", |meta| {
        let name = meta.get_attribute("name").unwrap_or_default();
        let content = meta.get_attribute("content").unwrap_or_default();
        let name = name.trim().to_ascii_lowercase();
        let said = match name.as_str() {
            "tdm-reservation" => (content.trim() == "1").then_some("1"),
            "robots" | PRODUCT => opt_out(&content),
            _ => None,
        };
        if let Some(said) = said {
            found.borrow_mut().get_or_insert(format!("{name}: {said}"));
        }
        Ok(())
    });
    // A page that can't be parsed to its end has said what it said until there.
    let _ = html_parser::parse(html.as_bytes(), [meta]);
    match found.into_inner() {
        Some(said) => Err(opted_out(format!("<meta> {said}"))),
        None => Ok(()),
    }
}

fn opted_out(mut said: String) -> Reason {
    said.truncate(MAX_SAID);
    Reason::OptedOut { said }
}

/// The first directive of a list that is against us. A part such as `otherbot: noai` begins the
/// directives for one crawler, which end with the list or where another is named.
fn opt_out(list: &str) -> Option<&'static str> {
    let mut is_for_us = true;
    for part in list.split(',') {
        let mut directive = part.trim();
        if let Some((name, rest)) = directive.split_once(':') {
            let name = name.trim();
            if WITH_VALUE
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
            {
                continue;
            }
            if is_name(name) {
                is_for_us = name == "*" || name.eq_ignore_ascii_case(PRODUCT);
                directive = rest.trim();
            }
        }
        let known = OPT_OUTS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(directive));
        if let Some(known) = known.filter(|_| is_for_us) {
            return Some(known);
        }
    }
    None
}

/// Whether a text can be the name of a crawler.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*/".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn said(headers: &[(HeaderName, &'static str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        match check_headers(&map) {
            Ok(()) => None,
            Err(Reason::OptedOut { said }) => Some(said),
            Err(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn directives_against_us_are_obeyed_and_all_others_ignored() {
        let against = [
            ("noai", "noai"),
            ("NoImageAI", "noimageai"),
            ("nofollow, noindex", "noindex"),
            ("noimageindex,noarchive", "noimageindex"),
            ("none", "none"),
            ("maskline: noai", "noai"),
            ("MaskLine:noimageai", "noimageai"),
            ("otherbot: nofollow, maskline: noindex", "noindex"),
            ("*: noai", "noai"),
            (
                "unavailable_after: Sat, 25 Jun 2050 15:00:00 GMT, noai",
                "noai",
            ),
        ];
        for (value, directive) in against {
            let expected = Some(format!("X-Robots-Tag: {directive}"));
            assert_eq!(said(&[(X_ROBOTS_TAG, value)]), expected, "{value}");
        }
        let not_against = [
            "",
            "all",
            "nofollow",
            "noarchive, nosnippet",
            "otherbot: noai, noindex",
            "maskline-not: noai",
            "max-image-preview: none",
            "unavailable_after: 2050-06-25T15:00:00Z",
            "noaithing",
            "no ai",
        ];
        for value in not_against {
            assert_eq!(said(&[(X_ROBOTS_TAG, value)]), None, "{value}");
        }
    }

    #[test]
    fn each_header_of_several_counts() {
        let several = [
            (X_ROBOTS_TAG, "otherbot: noai"),
            (X_ROBOTS_TAG, "noimageai"),
        ];
        assert_eq!(said(&several).as_deref(), Some("X-Robots-Tag: noimageai"));
    }

    #[test]
    fn reserved_rights_to_data_mining_are_respected() {
        let reserved = said(&[(TDM_RESERVATION, " 1 ")]);
        assert_eq!(reserved.as_deref(), Some("tdm-reservation: 1"));
        assert_eq!(said(&[(TDM_RESERVATION, "0")]), None);
    }

    #[test]
    fn a_page_may_say_it_in_its_head() {
        let against = [
            r#"<meta name="robots" content="index, noai">"#,
            r#"<META CONTENT="noimageindex" NAME="Robots">"#,
            r#"<meta name="maskline" content="noindex">"#,
            r#"<meta name="tdm-reservation" content="1">"#,
        ];
        for html in against {
            let checked = check_page(&format!("<html><head>{html}</head></html>"));
            assert!(matches!(checked, Err(Reason::OptedOut { .. })), "{html}");
        }
        let not_against = [
            r#"<meta name="googlebot" content="noindex">"#,
            r#"<meta name="robots" content="nofollow">"#,
            r#"<meta name="description" content="noai">"#,
            r#"<meta name="tdm-reservation" content="0">"#,
            "<p>noai</p>",
        ];
        for html in not_against {
            assert_eq!(check_page(html), Ok(()), "{html}");
        }
    }
}
