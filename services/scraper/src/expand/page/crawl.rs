//! The pages that a crawl has still to visit, and what it has seen.
//!
//! This may be megabytes, too much for a message. Each step writes what it added as an object of
//! its own, before the message for the next step is sent; the cursor is the number of the step. A
//! process that takes over reads all of these objects, and the one that took the last step still
//! has their sum. After the last step they are deleted.

use std::{collections::HashSet, sync::Arc};

use maskline_messages::{JobId, ObjectKey};
use maskline_storage::ObjectStore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use super::found::{FoundImage, PageContent, SitemapKind};
use crate::expand::error::ExpandError;

/// The cursor of the step that deletes what the steps before have written.
pub(super) const END: &str = "end";

/// How many pages a crawl visits.
pub(super) const MAX_PAGES: usize = 10_000;

/// How many images a crawl finds.
const MAX_IMAGES: usize = 1_000_000;

/// How many bytes all pages of a crawl have together.
const MAX_BYTES: u64 = 16 << 30;

/// How deep sitemaps may lie in indices of sitemaps. The standard allows one level.
const MAX_SITEMAPS: u32 = 2;

/// How far a crawl goes.
#[derive(Debug, Clone)]
pub(in crate::expand) struct CrawlOptions {
    /// The first page.
    pub(in crate::expand) url: Url,
    /// How many links are followed, one after the other.
    pub(in crate::expand) depth: u32,
    /// Follow only links to the first page's host.
    pub(in crate::expand) same_site: bool,
}

/// A page that is to be visited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PageToVisit {
    pub(super) url: Url,
    /// How many links lead to it from the first page.
    depth: u32,
    /// How many sitemaps lead to it.
    sitemaps: u32,
}

/// What one step added.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Added {
    pages: Vec<PageToVisit>,
    /// The hashes of addresses that were seen: of pages, and of images.
    seen_pages: Vec<u64>,
    seen_images: Vec<u64>,
    /// How many pages were visited, this step's included.
    visited: usize,
    /// How many bytes they had.
    bytes: u64,
}

/// A crawl between two steps.
pub(in crate::expand) struct Crawl {
    pages: Vec<PageToVisit>,
    seen_pages: HashSet<u64>,
    seen_images: HashSet<u64>,
    visited: usize,
    bytes: u64,
    /// The number of the step that is being taken.
    step: u64,
    added: Added,
}

impl Crawl {
    /// A crawl that has only its first page to visit.
    pub(super) fn begin(options: &CrawlOptions) -> Self {
        let mut crawl = Self::empty(0);
        crawl.add_page(PageToVisit {
            url: options.url.clone(),
            depth: 0,
            sitemaps: 0,
        });
        crawl
    }

    fn empty(step: u64) -> Self {
        Self {
            pages: vec![],
            seen_pages: HashSet::new(),
            seen_images: HashSet::new(),
            visited: 0,
            bytes: 0,
            step,
            added: Added::default(),
        }
    }

    /// The crawl as the steps before `cursor` left it. `None` means that it is over.
    pub(super) async fn load(
        objects: &Arc<dyn ObjectStore>,
        job: JobId,
        cursor: &str,
    ) -> Result<Option<Self>, ExpandError> {
        let broken = || {
            ExpandError::Source(format!(
                "the cursor {cursor:?} is not a step of the crawl: enqueue the page again"
            ))
        };
        let step: u64 = cursor.parse().map_err(|_| broken())?;
        let mut crawl = Self::empty(step);
        for before in 0..step {
            let bytes = match objects.get(&ObjectKey::crawl(job, before)).await {
                Err(error) if error.is_not_found() => return Ok(None),
                got => got.map_err(ExpandError::retry)?,
            };
            let added: Added = serde_json::from_slice(&bytes).map_err(|_| broken())?;
            crawl.pages.extend(added.pages);
            crawl.seen_pages.extend(added.seen_pages);
            crawl.seen_images.extend(added.seen_images);
            (crawl.visited, crawl.bytes) = (added.visited, added.bytes);
        }
        Ok(Some(crawl))
    }

    /// Deletes what the crawl's steps have written.
    pub(super) async fn clean_up(
        objects: &Arc<dyn ObjectStore>,
        job: JobId,
    ) -> Result<(), ExpandError> {
        loop {
            let keys = objects.list(&ObjectKey::crawls(job), None, 1000).await;
            let keys = keys.map_err(ExpandError::retry)?;
            for key in &keys {
                objects.delete(key).await.map_err(ExpandError::retry)?;
            }
            if keys.is_empty() {
                return Ok(());
            }
        }
    }

    /// Writes what this step added, and returns the cursor of the next one.
    pub(super) async fn save(
        &mut self,
        objects: &Arc<dyn ObjectStore>,
        job: JobId,
    ) -> Result<String, ExpandError> {
        let mut added = std::mem::take(&mut self.added);
        (added.visited, added.bytes) = (self.visited, self.bytes);
        let json = serde_json::to_vec(&added).map_err(ExpandError::retry)?;
        let key = ObjectKey::crawl(job, self.step);
        objects
            .put(&key, json.into())
            .await
            .map_err(ExpandError::retry)?;
        self.step += 1;
        Ok(self.step.to_string())
    }

    /// Returns whether the next step is the one of this cursor.
    pub(super) fn is_at(&self, cursor: &str) -> bool {
        cursor.parse() == Ok(self.step)
    }

    /// The next page to visit.
    pub(super) fn next_page(&mut self) -> Option<PageToVisit> {
        let page = self.pages.get(self.visited).cloned();
        let page = page.filter(|_| self.bytes < MAX_BYTES)?;
        self.visited += 1;
        Some(page)
    }

    /// Returns whether the page that `next_page` gave last is the first of all.
    pub(super) fn is_at_first(&self) -> bool {
        self.visited == 1
    }

    /// Makes `next_page` give the same page again.
    pub(super) fn put_back(&mut self) {
        self.visited -= 1;
    }

    pub(super) fn has_more(&self) -> bool {
        self.visited < self.pages.len() && self.bytes < MAX_BYTES
    }

    /// Takes what was found in a page. Returns the images that were not seen before.
    pub(super) fn add(
        &mut self,
        options: &CrawlOptions,
        page: &PageToVisit,
        content: PageContent,
    ) -> Vec<FoundImage> {
        self.bytes += content.bytes;
        // What redirects led to is not visited again.
        self.see_page(&content.url);
        let (depth, sitemaps) = match content.sitemap {
            // The pages of a sitemap are as if they had been enqueued themselves.
            Some(SitemapKind::Pages) => (page.depth, page.sitemaps),
            Some(SitemapKind::Index) => (page.depth, page.sitemaps + 1),
            None => (page.depth + 1, page.sitemaps),
        };
        if depth <= options.depth && sitemaps < MAX_SITEMAPS {
            for url in content.links {
                if !options.same_site || is_same_site(&url, &options.url) {
                    self.add_page(PageToVisit {
                        url,
                        depth,
                        sitemaps,
                    });
                }
            }
        }
        let mut images = content.images;
        images.retain(|image| self.see_image(&image.url));
        images
    }

    fn add_page(&mut self, page: PageToVisit) {
        if self.pages.len() < MAX_PAGES && self.see_page(&page.url) {
            self.added.pages.push(page.clone());
            self.pages.push(page);
            if self.pages.len() == MAX_PAGES {
                tracing::warn!(
                    most = MAX_PAGES,
                    "the crawl visits no more pages than these"
                );
            }
        }
    }

    /// Returns whether the page was not seen before.
    fn see_page(&mut self, url: &Url) -> bool {
        // More than so many are neither visited nor remembered.
        if self.seen_pages.len() >= 2 * MAX_PAGES {
            return false;
        }
        let hash = hash(url);
        let is_new = self.seen_pages.insert(hash);
        if is_new {
            self.added.seen_pages.push(hash);
        }
        is_new
    }

    /// Returns whether the image was not seen before.
    fn see_image(&mut self, url: &Url) -> bool {
        if self.seen_images.len() >= MAX_IMAGES {
            return false;
        }
        let hash = hash(url);
        let is_new = self.seen_images.insert(hash);
        if is_new {
            self.added.seen_images.push(hash);
            if self.seen_images.len() == MAX_IMAGES {
                tracing::warn!(most = MAX_IMAGES, "the crawl has found its most images");
            }
        }
        is_new
    }
}

/// Two addresses are of one site if their hosts are the same but for a `www.`.
fn is_same_site(url: &Url, first: &Url) -> bool {
    let host = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        host.strip_prefix("www.").unwrap_or(host).to_owned()
    };
    // Without a port, http and https are the same site.
    host(url) == host(first) && url.port() == first.port()
}

/// A hash of an address that is the same in every process.
fn hash(url: &Url) -> u64 {
    let digest = Sha256::digest(url.as_str());
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}
