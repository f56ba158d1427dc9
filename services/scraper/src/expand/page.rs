//! A web page, for the images in it.
//!
//! Taken are `img` elements (the largest picture of a `srcset`; `data-src` where
//! scripts would load it later), `source` elements of a `picture`, the page's
//! `og:image`, and links to image files. Pictures inside the page itself
//! (`data:`) are icons and placeholders, and are not.

use std::{cell::RefCell, collections::HashSet};

use lol_html::{HtmlRewriter, Settings, element, html_content::Element};
use maskline_messages::{Labeling, Reason, is_too_long, shown};
use url::Url;

use super::{ExpandError, Found, Step, found_at};
use crate::fetch::{FetchError, Fetcher, web::Wanted};

/// Of a page. What comes after is not read.
const MOST_BYTES: u64 = 10 << 20;

/// Images of one page: it is one step.
pub const MOST_IMAGES: usize = 10_000;

/// Links to files with these endings are links to images.
const ENDINGS: [&str; 9] = [
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff",
];

/// All the page's images, in their order, each once.
pub async fn expand(
    fetcher: &Fetcher,
    url: &Url,
    labeling: Option<&Labeling>,
) -> Result<Step, ExpandError> {
    let what = format!("the page {}", shown(url));
    let fetching = |error| ExpandError::fetching(&what, error);
    let answer = fetcher
        .web()
        .get(url, Wanted::Page)
        .await
        .map_err(fetching)?;
    let base = answer.url().clone();
    let body = answer.body(MOST_BYTES, fetcher.budget()).await;
    let images = match body {
        Ok(body) => images(&body.bytes, &base),
        Err(FetchError::Rejected(Reason::Empty)) => vec![],
        Err(error) => return Err(fetching(error)),
    };
    if images.is_empty() {
        return Err(ExpandError::Source(format!(
            "no images in {what}: it may load them by scripts, which are not run. \
             Enqueue a list of their URLs"
        )));
    }
    let found: Vec<Found> = images
        .into_iter()
        .map(|url| found_at(url, labeling))
        .collect();
    Ok(Step { found, next: None })
}

/// The http(s) URLs of a page's images, each once, at most [`MOST_IMAGES`]. `base` is
/// the page's own.
pub fn images(html: &[u8], base: &Url) -> Vec<Url> {
    let found = RefCell::new(Images {
        base: Some(base.clone()),
        ..Images::default()
    });
    let take = |text: Option<String>| found.borrow_mut().add(text);
    let handlers = vec![
        element!("base[href]", |base| {
            found.borrow_mut().rebase(base.get_attribute("href"));
            Ok(())
        }),
        element!("img", |img| {
            let largest = ["srcset", "data-srcset"]
                .into_iter()
                .find_map(|name| largest(&img.get_attribute(name)?));
            take(largest.or_else(|| source(img)));
            Ok(())
        }),
        element!("picture source[srcset]", |source| {
            take(source.get_attribute("srcset").as_deref().and_then(largest));
            Ok(())
        }),
        element!("meta[property='og:image'][content]", |meta| {
            take(meta.get_attribute("content"));
            Ok(())
        }),
        element!("a[href]", |link| {
            take(link.get_attribute("href").filter(|href| is_image(href)));
            Ok(())
        }),
    ];
    let settings = handlers.into_iter().fold(
        Settings::new().with_strict(false),
        Settings::append_element_content_handler,
    );
    let mut rewriter = HtmlRewriter::new(settings, |_: &[u8]| {});
    // A page that breaks the parser gives what was found until then.
    let read = rewriter.write(html).and_then(|()| rewriter.end());
    if let Err(error) = read {
        tracing::debug!(%error, page = shown(base), "read in part");
    }
    found.take().urls
}

fn source(img: &Element<'_, '_>) -> Option<String> {
    let value = |name| img.get_attribute(name).filter(|src| !src.is_empty());
    // What a script would load later comes first: `src` is then a placeholder.
    value("data-src").or_else(|| value("src"))
}

#[derive(Default)]
struct Images {
    base: Option<Url>,
    seen: HashSet<Url>,
    urls: Vec<Url>,
}

impl Images {
    fn rebase(&mut self, href: Option<String>) {
        if let Some(base) = href.and_then(|href| self.resolve(&href)) {
            self.base = Some(base);
        }
    }

    fn resolve(&self, attribute: &str) -> Option<Url> {
        let text = htmlize::unescape_attribute(attribute);
        let mut url = self.base.as_ref()?.join(text.trim()).ok()?;
        url.set_fragment(None);
        (!is_too_long(&url)).then_some(url)
    }

    fn add(&mut self, attribute: Option<String>) {
        let Some(url) = attribute.and_then(|attribute| self.resolve(&attribute)) else {
            return;
        };
        let fetchable = matches!(url.scheme(), "http" | "https");
        if fetchable && self.urls.len() < MOST_IMAGES && self.seen.insert(url.clone()) {
            self.urls.push(url);
        }
    }
}

/// Whether a link leads to an image, by its path's ending.
fn is_image(href: &str) -> bool {
    let path = href.split(['?', '#']).next().unwrap_or_default();
    let path = path.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// The picture of a `srcset` with the largest descriptor (`2x`, `800w`); without
/// one it counts as `1x`.
fn largest(srcset: &str) -> Option<String> {
    let mut best: Option<(f64, &str)> = None;
    let mut rest = srcset.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    while !rest.is_empty() {
        // A URL ends at white space, for it may hold commas itself.
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let url = word.trim_end_matches(',');
        // A comma at its end says that it has no descriptor.
        let (descriptor, next) = match word.len() > url.len() {
            true => ("", after),
            false => after.split_once(',').unwrap_or((after, "")),
        };
        let size = descriptor.trim().trim_end_matches(['w', 'x', 'h']);
        let size = size.parse().unwrap_or(1.0);
        if best.is_none_or(|(largest, _)| size > largest) {
            best = Some((size, url));
        }
        rest = next.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }
    best.map(|(_, url)| url.to_owned())
}

#[cfg(test)]
mod tests {
    use maskline_messages::MAX_URL;

    use super::*;

    fn found(html: &str) -> Vec<String> {
        let base = "http://site/gallery/page.html".parse().unwrap();
        let urls = images(html.as_bytes(), &base);
        urls.into_iter().map(String::from).collect()
    }

    #[test]
    fn images_are_found_wherever_a_page_may_hold_them() {
        let html = r#"<!doctype html><html><head>
            <meta property="og:image" content="https://cdn/cover.jpg">
            <body><img src="1.jpg"><IMG SRC='/2.png?a=1&amp;b=2'>
            <img src="dot.gif" data-src="late.webp">
            <picture><source srcset="p-400.webp 400w, p-800.webp 800w"><img src="p.jpg"></picture>
            <a href="full/3.JPG#top"><img src="1.jpg"></a> <a href="about.html">about</a>
            <video><source src="film.mp4"></video>"#;
        let expected = [
            "https://cdn/cover.jpg",
            "http://site/gallery/1.jpg",
            "http://site/2.png?a=1&b=2",
            "http://site/gallery/late.webp",
            "http://site/gallery/p-800.webp",
            "http://site/gallery/p.jpg",
            "http://site/gallery/full/3.JPG",
        ];
        assert_eq!(found(html), expected);
    }

    #[test]
    fn a_base_counts_and_what_is_not_http_does_not() {
        let html = r#"<base href="http://other/x/"><img src="a.jpg">
            <img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><img src="javascript:0">
            <img src=""><img><img src="file:///etc/passwd">"#;
        assert_eq!(found(html), ["http://other/x/a.jpg"]);
    }

    #[test]
    fn a_url_is_measured_as_it_is_asked_for_and_not_as_it_is_written() {
        let begin = "http://a/";
        let longest = format!("{begin}{}", "x".repeat(MAX_URL - begin.len()));
        let escaped = format!("{begin}{}", "ä".repeat(MAX_URL / 4));
        let html = format!(
            r#"<base href="{longest}/"><img src="b.jpg"><img src="{longest}#top">
            <img src="{longest}x"><img src="{escaped}">"#
        );
        let expected = ["http://site/gallery/b.jpg", longest.as_str()];
        assert_eq!(found(&html), expected);
    }

    #[test]
    fn broken_html_gives_what_there_is() {
        assert_eq!(
            found("<img src=a.jpg><div <img src=b.jpg"),
            ["http://site/gallery/a.jpg"]
        );
        assert_eq!(found("\u{0}\u{1}not html"), [] as [&str; 0]);
    }

    #[test]
    fn the_largest_of_a_srcset_is_taken() {
        let cases = [
            ("a.jpg", Some("a.jpg")),
            ("a.jpg, b.jpg 2x", Some("b.jpg")),
            ("a.jpg 800w,\n b.jpg 400w", Some("a.jpg")),
            ("a,1.jpg 1x, b,2.jpg 1.5x", Some("b,2.jpg")),
            ("", None),
        ];
        for (srcset, expected) in cases {
            assert_eq!(largest(srcset).as_deref(), expected, "{srcset}");
        }
    }
}
