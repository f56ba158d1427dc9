//! A web page, for the images in it.
//!
//! These count as its images:
//!
//! * the picture of an `img` element: the largest of its `srcset`, else its `data-src`,
//!   from which scripts would load it later, else its `src`;
//! * the largest picture of each `source` in a `picture` element;
//! * the page's `og:image`;
//! * the target of a link, if its name ends like that of an image file.
//!
//! Pictures inside the page itself (`data:` URLs) are icons and placeholders, and do not
//! count.

use std::{cell::RefCell, collections::HashSet};

use lol_html::{HtmlRewriter, Settings, element, html_content::Element};
use maskline_messages::{Labeling, Reason, is_too_long, shown};
use url::Url;

use super::{
    candidate::{ExpansionStep, SourceCandidate},
    error::ExpandError,
};
use crate::fetch::{FetchError, Fetcher, ResourceKind, check_page};

/// How many bytes a page may have.
const MAX_BYTES: u64 = 10 << 20;

/// How many images are taken from one page. A page is always a single step.
pub const MAX_IMAGES: usize = 10_000;

/// A link to a file whose name ends like this is a link to an image.
const IMAGE_EXTENSIONS: [&str; 9] = [
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff",
];

/// Finds all images of the page in their order, each once.
pub(super) async fn expand(
    fetcher: &Fetcher,
    url: &Url,
    labeling: Option<&Labeling>,
) -> Result<ExpansionStep, ExpandError> {
    let what = format!("the page {}", shown(url));
    let failed = |error| ExpandError::fetching(&what, error);
    let response = fetcher
        .web()
        .get(url, ResourceKind::Page)
        .await
        .map_err(failed)?;
    let base = response.url().clone();
    let body = response.body(MAX_BYTES, fetcher.budget()).await;
    let images = match body {
        Ok(body) => {
            if fetcher.obeys_opt_outs() {
                check_page(&body.bytes).map_err(|reason| failed(reason.into()))?;
            }
            images(&body.bytes, &base)
        }
        Err(FetchError::Rejected(Reason::Empty)) => vec![],
        Err(error) => return Err(failed(error)),
    };
    if images.is_empty() {
        return Err(ExpandError::Source(format!(
            "no images in {what}: it may load them by scripts, which are not run. \
             Enqueue a list of their URLs"
        )));
    }
    let candidates = images
        .into_iter()
        .map(|url| SourceCandidate::at_url(url, labeling));
    Ok(ExpansionStep {
        candidates: candidates.collect(),
        next_cursor: None,
    })
}

/// The http(s) URLs of a page's images, each once, at most [`MAX_IMAGES`]. `base` is the
/// page's own URL, which relative ones are resolved against.
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
    // If the parser gives up on a page, what was found until then counts.
    let parsed = rewriter.write(html).and_then(|()| rewriter.end());
    if let Err(error) = parsed {
        tracing::debug!(%error, page = shown(base), "only a part of the page could be parsed");
    }
    found.take().urls
}

/// The URL of an `img` without a `srcset`.
fn source(img: &Element<'_, '_>) -> Option<String> {
    let value = |name| img.get_attribute(name).filter(|src| !src.is_empty());
    // Where a script would load the picture later, `src` is only a placeholder.
    value("data-src").or_else(|| value("src"))
}

/// The images found so far.
#[derive(Default)]
struct Images {
    /// What relative URLs are resolved against: the page's URL, or that of its `base`.
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
        if fetchable && self.urls.len() < MAX_IMAGES && self.seen.insert(url.clone()) {
            self.urls.push(url);
        }
    }
}

/// Returns whether the path of a link ends like that of an image file.
fn is_image(href: &str) -> bool {
    let path = href.split(['?', '#']).next().unwrap_or_default();
    let path = path.to_ascii_lowercase();
    IMAGE_EXTENSIONS
        .iter()
        .any(|extension| path.ends_with(extension))
}

/// The picture of a `srcset` attribute (HTML Standard, "srcset attributes") with the
/// largest descriptor: `2x`, `800w`. A picture without one counts as `1x`.
fn largest(srcset: &str) -> Option<String> {
    let mut best: Option<(f64, &str)> = None;
    let mut rest = srcset.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    while !rest.is_empty() {
        // A URL ends at white space. It may hold commas itself.
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let url = word.trim_end_matches(',');
        // A comma at its end means that it has no descriptor.
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
    fn the_base_element_counts_and_urls_that_are_not_http_do_not() {
        let html = r#"<base href="http://other/x/"><img src="a.jpg">
            <img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><img src="javascript:0">
            <img src=""><img><img src="file:///etc/passwd">"#;
        assert_eq!(found(html), ["http://other/x/a.jpg"]);
    }

    #[test]
    fn the_length_that_counts_is_that_of_the_normalized_url() {
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
    fn broken_html_gives_the_images_that_were_found_in_it() {
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
