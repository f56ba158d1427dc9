//! The images and links of an HTML page.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    rc::Rc,
};

use encoding_rs::{Encoding, UTF_8};
use lol_html::{element, html_content::Element, text};
use maskline_messages::shown;
use url::Url;

use super::{
    found::{Found, MAX_IMAGES},
    json_ld,
    picture::picture,
};
use crate::{expand::image_names::is_image, html_parser};

/// How many bytes the text of one `noscript` or script may have.
const MAX_BLOCK: usize = 2 << 20;

/// How many `noscript` elements of a page are read. A page has no more images than these.
const MAX_HIDDEN: usize = MAX_IMAGES;

/// The namespace of HTML's elements. An SVG has its own within a page.
const HTML: &str = "http://www.w3.org/1999/xhtml";

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
/// The content of a `template` is not part of the page.
fn base(html: &str, url: &Url) -> Url {
    let base = RefCell::new(None);
    let is_in_template = Cell::new(false);
    // The handlers of one element are called in this order.
    let template = element!("template base[href]", |_| {
        is_in_template.set(true);
        Ok(())
    });
    let handler = element!("base[href]", |element| {
        if is_in_template.take() || element.namespace_uri() != HTML {
            return Ok(());
        }
        let href = attribute(element, "href");
        let resolved = href.and_then(|href| Found::new(url.clone(), UTF_8).resolve(&href));
        *base.borrow_mut() = Some(resolved.unwrap_or_else(|| url.clone()));
        // No other one is of interest.
        Err("found".into())
    });
    let _ = html_parser::parse(html.as_bytes(), [template, handler]);
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
    let hidden_left = Cell::new(MAX_HIDDEN);
    let mut handlers = vec![
        element!("img, amp-img", |img| {
            let description = attribute(img, "alt").filter(|alt| !alt.trim().is_empty());
            let description = description.or_else(|| attribute(img, "title"));
            let url = picture(img, &found.borrow());
            add(url, description.as_deref());
            Ok(())
        }),
        element!("picture source", |source| {
            let url = picture(source, &found.borrow());
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
                let hidden = std::mem::take(&mut *hidden);
                let html = unescaped(&hidden);
                if html.contains('<') && hidden_left.get() > 0 {
                    hidden_left.update(|left| left - 1);
                    search(&html, found, false);
                }
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

/// The HTML in a `noscript`, which some pages escape as if it were text.
fn unescaped(hidden: &str) -> Cow<'_, str> {
    match hidden.contains('<') {
        true => Cow::Borrowed(hidden),
        false => htmlize::unescape(hidden),
    }
}

/// The attribute's value, with its character references resolved.
fn attribute(element: &Element<'_, '_>, name: &str) -> Option<String> {
    let value = element.get_attribute(name)?;
    Some(htmlize::unescape_attribute(&value).into_owned())
}
