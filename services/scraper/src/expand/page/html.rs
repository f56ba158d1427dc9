//! The images and links of an HTML page.

use std::{cell::RefCell, rc::Rc};

use encoding_rs::{Encoding, UTF_8};
use lol_html::{element, html_content::Element, text};
use maskline_messages::shown;
use url::Url;

use super::{found::Found, json_ld, srcset};
use crate::{expand::image_names::is_image, html_parser};

/// How many bytes the text of one `noscript` or script may have.
const MAX_BLOCK: usize = 2 << 20;

/// Attributes that hold a picture's sizes, the surest first. Where a script sets `srcset` later,
/// what that is before may be a placeholder.
const SIZES: [&str; 6] = [
    "data-srcset",
    "data-lazy-srcset",
    "lazy-srcset",
    "data-original-set",
    "data-ll-srcset",
    "srcset",
];

/// Attributes from which scripts load a picture later. Where there is one, `src` is only a
/// placeholder.
const LATER: [&str; 16] = [
    "data-src",
    "data-lazy-src",
    "data-lazyload",
    "data-ll-src",
    "data-original",
    "data-lazy",
    "data-defer-src",
    "data-actualsrc",
    "data-original-src",
    "data-orig-file",
    "data-large_image",
    "data-full-src",
    "data-hi-res-src",
    "data-image",
    "data-url",
    "lazy-src",
];

/// The http(s) URLs of a page's images, each once, at most [`MAX_IMAGES`](super::MAX_IMAGES).
/// `base` is the page's own URL, which relative ones are resolved against.
pub fn images(html: &[u8], base: &Url) -> Vec<Url> {
    let text = String::from_utf8_lossy(html);
    let found = read(&text, base, UTF_8);
    found.images.into_iter().map(|image| image.url).collect()
}

/// Finds all images and links of a page that had this encoding.
pub(super) fn read(html: &str, url: &Url, encoding: &'static Encoding) -> Found {
    let base = base(html, url);
    let found = Rc::new(RefCell::new(Found::new(base, encoding)));
    search(html, &found, true);
    // The rewriter is gone, and its handlers with it.
    let found = Rc::try_unwrap(found).map(RefCell::into_inner);
    found.unwrap_or_else(|found| {
        std::mem::replace(&mut *found.borrow_mut(), Found::new(url.clone(), encoding))
    })
}

/// What the page's relative addresses are resolved against: the first `base` that has an address
/// counts for the whole page, also for what comes before it (HTML Standard, "the base element").
fn base(html: &str, url: &Url) -> Url {
    let base = RefCell::new(None);
    let handler = element!("base[href]", |element| {
        let href = attribute(element, "href");
        let resolved = href.and_then(|href| Found::new(url.clone(), UTF_8).resolve(&href));
        *base.borrow_mut() = Some(resolved.unwrap_or_else(|| url.clone()));
        // No other one is of interest.
        Err("found".into())
    });
    let _ = html_parser::parse(html.as_bytes(), [handler]);
    base.into_inner().unwrap_or_else(|| url.clone())
}

/// Adds the images and links of the page to `found`. With `within`, those in its `noscript`
/// elements, too.
fn search(html: &str, found: &Rc<RefCell<Found>>, within: bool) {
    let add = |url: Option<Url>, description: Option<&str>| {
        if let Some(url) = url {
            found.borrow_mut().add_image(url, description);
        }
    };
    let resolve = |text: String| found.borrow().resolve(&text);
    let follows = RefCell::new(true);
    let (block, hidden) = (RefCell::new(String::new()), RefCell::new(String::new()));
    let mut handlers = vec![
        element!("img, amp-img", |img| {
            let description = attribute(img, "alt").filter(|alt| !alt.trim().is_empty());
            let description = description.or_else(|| attribute(img, "title"));
            let url = picture(img, &found.borrow());
            add(url, description.as_deref());
            Ok(())
        }),
        element!("picture source", |source| {
            let url = largest(source, &found.borrow());
            add(url, None);
            Ok(())
        }),
        element!("meta[content]", |meta| {
            let name = attribute(meta, "property").or_else(|| attribute(meta, "name"));
            let content = attribute(meta, "content").unwrap_or_default();
            match name.unwrap_or_default().to_ascii_lowercase().as_str() {
                "og:image"
                | "og:image:url"
                | "og:image:secure_url"
                | "twitter:image"
                | "twitter:image:src" => add(resolve(content), None),
                "robots" if content.to_ascii_lowercase().contains("nofollow") => {
                    *follows.borrow_mut() = false;
                }
                _ => {}
            }
            Ok(())
        }),
        element!("link[rel='image_src'][href]", |link| {
            add(attribute(link, "href").and_then(resolve), None);
            Ok(())
        }),
        element!("a[href], area[href]", |link| {
            let Some(url) = attribute(link, "href").and_then(resolve) else {
                return Ok(());
            };
            if is_image(url.path()) {
                add(Some(url), attribute(link, "title").as_deref());
                return Ok(());
            }
            let rel = attribute(link, "rel").unwrap_or_default();
            let asks_not_to = rel
                .split_whitespace()
                .any(|rel| rel.eq_ignore_ascii_case("nofollow"));
            if *follows.borrow() && !asks_not_to {
                found.borrow_mut().add_link(url);
            }
            Ok(())
        }),
        text!("script[type='application/ld+json']", |chunk| {
            let mut block = block.borrow_mut();
            if block.len() + chunk.as_str().len() <= MAX_BLOCK {
                block.push_str(chunk.as_str());
            }
            if chunk.last_in_text_node() {
                for (url, description) in json_ld::images(&std::mem::take(&mut *block)) {
                    add(resolve(url), description.as_deref());
                }
            }
            Ok(())
        }),
    ];
    if within {
        // The parser takes the content of `noscript` for text, as a browser with scripts does.
        handlers.push(text!("noscript", |chunk| {
            let mut hidden = hidden.borrow_mut();
            if hidden.len() + chunk.as_str().len() <= MAX_BLOCK {
                hidden.push_str(chunk.as_str());
            }
            if chunk.last_in_text_node() {
                search(&std::mem::take(&mut *hidden), found, false);
            }
            Ok(())
        }));
    }
    // If the parser gives up on a page, what was found until then counts.
    let parsed = html_parser::parse(html.as_bytes(), handlers);
    if let Err(error) = parsed {
        let page = shown(
            &found
                .borrow()
                .resolve(".")
                .unwrap_or_else(|| Url::parse("about:blank").expect("a URL")),
        );
        tracing::debug!(%error, page, "only a part of the page could be parsed");
    }
}

/// The picture of an `img`.
fn picture(img: &Element<'_, '_>, found: &Found) -> Option<Url> {
    let one = |name: &&str| found.resolve(&attribute(img, name)?);
    largest(img, found)
        .or_else(|| LATER.iter().find_map(one))
        .or_else(|| one(&"src"))
}

/// The largest picture in the attributes that hold several sizes.
fn largest(element: &Element<'_, '_>, found: &Found) -> Option<Url> {
    SIZES.iter().find_map(|name| {
        let srcset = attribute(element, name)?;
        let mut urls = srcset::by_size(&srcset).into_iter();
        urls.find_map(|url| found.resolve(url))
    })
}

/// The attribute's value, with its character references resolved.
fn attribute(element: &Element<'_, '_>, name: &str) -> Option<String> {
    let value = element.get_attribute(name)?;
    Some(htmlize::unescape_attribute(&value).into_owned())
}
