//! The name by which servers know this crawler.

use std::{fmt, str::FromStr};

/// The product token that a site's robots.txt may address this crawler by (RFC 9309,
/// section 2.2.1). The `User-Agent` begins with it.
pub(super) const PRODUCT: &str = "maskline";

/// The most bytes of a contact.
const MAX_CONTACT: usize = 200;

/// How a site's operator reaches whoever runs this crawler: a mail address or a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact(String);

impl FromStr for Contact {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The characters of a comment in a header (RFC 9110, section 5.6.5), without those that
        // would end it.
        let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'\\');
        let is_sane = (1..=MAX_CONTACT).contains(&text.len()) && text.bytes().all(fits);
        let names_somebody = text.contains('@') || text.contains("://");
        if is_sane && names_somebody {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "not a mail address, such as me@example.org, nor the address of a page, such \
                 as https://example.org/crawler"
                    .to_owned(),
            )
        }
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `User-Agent` of every request. It says who we are, and whom to ask about us.
pub(super) fn user_agent(contact: Option<&Contact>) -> String {
    let contact = contact.map_or(env!("CARGO_PKG_REPOSITORY"), |contact| &contact.0);
    format!("{PRODUCT}/{} (+{contact})", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_program_its_version_and_somebody_to_ask() {
        let version = env!("CARGO_PKG_VERSION");
        let home = format!("maskline/{version} (+https://github.com/maskline/maskline)");
        assert_eq!(user_agent(None), home);
        let contact = "me@example.org".parse().unwrap();
        let ours = format!("maskline/{version} (+me@example.org)");
        assert_eq!(user_agent(Some(&contact)), ours);
    }

    #[test]
    fn a_contact_is_one_word_that_a_header_can_hold() {
        for good in ["me@example.org", "https://example.org/bot?a=b"] {
            assert!(good.parse::<Contact>().is_ok(), "{good}");
        }
        let long = format!("me@{}", "x".repeat(MAX_CONTACT));
        for bad in ["", "me", "a b@c", "me@x\r\nX: y", "a@b)", "é@x", &long] {
            assert!(bad.parse::<Contact>().is_err(), "{bad}");
        }
    }
}
