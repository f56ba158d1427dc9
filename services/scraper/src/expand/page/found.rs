//! What is found in a page: images and links to pages.

use std::{borrow::Cow, collections::HashSet};

use encoding_rs::Encoding;
use maskline_messages::is_too_long;
use url::Url;

use crate::expand::provenance::clean;

/// How many images are taken from one page.
pub const MAX_IMAGES: usize = 10_000;

/// How many links to pages are taken from one page.
const MAX_LINKS: usize = 10_000;

/// How many bytes all addresses that are taken from one page have together. A page of a few
/// kilobytes can have a `base` that makes each of its addresses long.
const MAX_URL_BYTES: usize = 4 << 20;

/// An image in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundImage {
    pub(super) url: Url,
    /// The text that describes it for whoever can't see it.
    pub(super) description: Option<String>,
}

/// What the addresses in a sitemap lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SitemapKind {
    /// Pages.
    Pages,
    /// Other sitemaps.
    Index,
}

/// What is in a page.
pub(super) struct PageContent {
    /// The page's address, after redirects.
    pub(super) url: Url,
    pub(super) bytes: u64,
    pub(super) images: Vec<FoundImage>,
    pub(super) links: Vec<Url>,
    /// What the links lead to, if the page is a sitemap.
    pub(super) sitemap: Option<SitemapKind>,
}

/// The images and links of a page, in the page's order, each once.
pub(super) struct Found {
    base: Url,
    /// The page's encoding, in which queries are written (URL Standard, "URL parsing").
    encoding: &'static Encoding,
    seen: HashSet<Url>,
    bytes: usize,
    pub(super) images: Vec<FoundImage>,
    pub(super) links: Vec<Url>,
}

impl Found {
    /// Nothing yet. Relative addresses are resolved against `base`.
    pub(super) fn new(base: Url, encoding: &'static Encoding) -> Self {
        Self {
            base,
            encoding,
            seen: HashSet::new(),
            bytes: 0,
            images: vec![],
            links: vec![],
        }
    }

    /// The address that an attribute holds, if it can be fetched.
    pub(super) fn resolve(&self, text: &str) -> Option<Url> {
        let text = text.trim();
        if text.is_empty() || text.starts_with("data:") {
            return None;
        }
        let encode: &dyn Fn(&str) -> Cow<'_, [u8]> =
            &|query| Cow::Owned(self.encoding.encode(query).0.into_owned());
        let options = Url::options()
            .base_url(Some(&self.base))
            .encoding_override(Some(encode));
        let mut url = options.parse(text).ok()?;
        url.set_fragment(None);
        let is_fetchable = matches!(url.scheme(), "http" | "https") && url.has_host();
        (is_fetchable && !is_too_long(&url)).then_some(url)
    }

    pub(super) fn add_image(&mut self, url: Url, description: Option<&str>) {
        let bytes = self.bytes + url.as_str().len();
        let has_room = self.images.len() < MAX_IMAGES && bytes <= MAX_URL_BYTES;
        if has_room && self.seen.insert(url.clone()) {
            self.bytes = bytes;
            let description = description.map(clean).filter(|text| !text.is_empty());
            self.images.push(FoundImage { url, description });
        }
    }

    pub(super) fn add_link(&mut self, url: Url) {
        let bytes = self.bytes + url.as_str().len();
        let has_room = self.links.len() < MAX_LINKS && bytes <= MAX_URL_BYTES;
        if has_room && self.seen.insert(url.clone()) {
            self.bytes = bytes;
            self.links.push(url);
        }
    }
}
