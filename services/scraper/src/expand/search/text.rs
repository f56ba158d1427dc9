//! Texts and addresses as providers write them, made fit to be kept.

use std::{cell::RefCell, rc::Rc};

use lol_html::{HtmlRewriter, Settings, doc_text, element, html_content::TextType};
use maskline_foundation::text::shortened;
use maskline_messages::is_too_long;
use url::Url;

/// The text on one line, without control characters and of at most `limit` characters.
pub(super) fn cleaned(text: &str, limit: usize) -> String {
    let visible = text.replace(|c: char| c.is_control() || is_format(c), " ");
    let words: Vec<_> = visible.split_whitespace().collect();
    shortened(&words.join(" "), limit)
}

/// Characters that turn the direction of a text around, or that nobody sees.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What a piece of HTML says, and where its first link leads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Html {
    pub(super) text: String,
    pub(super) link: Option<String>,
}

impl Html {
    /// Reads a piece of HTML. If it is broken, what was read until then counts.
    pub(super) fn read(html: &str) -> Self {
        let read = Rc::new(RefCell::new(Self::default()));
        let (of_text, of_link) = (read.clone(), read.clone());
        let settings = Settings::new()
            .with_strict(false)
            .append_document_content_handler(doc_text!(move |chunk| {
                // Styles and scripts are texts of other types.
                if matches!(chunk.text_type(), TextType::Data | TextType::RCData) {
                    of_text.borrow_mut().text.push_str(chunk.as_str());
                }
                Ok(())
            }))
            .append_element_content_handler(element!("a[href]", move |link| {
                let link = link.get_attribute("href");
                let first = &mut of_link.borrow_mut().link;
                *first = first.take().or(link);
                Ok(())
            }));
        let mut rewriter = HtmlRewriter::new(settings, |_: &[u8]| {});
        let parsed = rewriter
            .write(html.as_bytes())
            .and_then(|()| rewriter.end());
        if let Err(error) = parsed {
            tracing::debug!(%error, "only a part of a text could be parsed");
        }
        let Self { text, link } = read.take();
        Self {
            text: htmlize::unescape(&text).into_owned(),
            link: link.map(|link| htmlize::unescape(&link).into_owned()),
        }
    }
}

/// An http(s) address without what only says through which campaign a person came: the
/// parameters `utm_…`. With them the same image would have many addresses.
pub(super) fn web_address(text: &str) -> Option<Url> {
    let text = text.trim();
    let mut url: Url = match text.strip_prefix("//") {
        Some(rest) => format!("https://{rest}").parse().ok()?,
        None => text.parse().ok()?,
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || is_too_long(&url) {
        return None;
    }
    url.set_fragment(None);
    if let Some(query) = url.query() {
        let is_campaign = |parameter: &&str| {
            let name = parameter.get(..4);
            name.is_some_and(|name| name.eq_ignore_ascii_case("utm_"))
        };
        let kept: Vec<_> = query.split('&').filter(|p| !is_campaign(p)).collect();
        let kept = kept.join("&");
        url.set_query((!kept.is_empty()).then_some(&kept));
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_that_changes_no_terminal() {
        assert_eq!(
            cleaned(" a\u{1b}[31m\r\n b\u{202e}c\u{0} ", 99),
            "a [31m b c"
        );
        assert_eq!(cleaned("été d'été", 3), "été…");
    }

    #[test]
    fn html_becomes_its_text_and_its_first_link() {
        let cases = [
            ("Jane Doe", "Jane Doe", None),
            (
                r#"<a href="//commons.wikimedia.org/wiki/User:Jane_%26_Co" title="x">Jane &amp; Co</a>, <a href="b">b</a>"#,
                "Jane & Co, b",
                Some("//commons.wikimedia.org/wiki/User:Jane_%26_Co"),
            ),
            (
                "<style>p{color:red}</style><script>let a = 1</script><b>Jane</b>&#39;s",
                "Jane's",
                None,
            ),
            ("<p>Jane <i", "Jane ", None),
        ];
        for (html, text, link) in cases {
            let read = Html::read(html);
            assert_eq!(
                (read.text.as_str(), read.link.as_deref()),
                (text, link),
                "{html}"
            );
        }
    }

    #[test]
    fn an_address_has_no_campaign_and_no_fragment() {
        let cases = [
            (
                "https://h/a.jpg?utm_source=x&w=2&UTM_medium=y&b",
                Some("https://h/a.jpg?w=2&b"),
            ),
            ("https://h/a.jpg?utm_source=x", Some("https://h/a.jpg")),
            ("https://h/a?b=utm_c#top", Some("https://h/a?b=utm_c")),
            ("//h/a.jpg", Some("https://h/a.jpg")),
            ("x-raw-image:///4f2a", None),
            ("data:image/gif;base64,R0lG", None),
            ("a.jpg", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let url = web_address(text);
            assert_eq!(url.as_ref().map(Url::as_str), expected, "{text}");
        }
    }
}
