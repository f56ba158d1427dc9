//! A web page, for the images in it, and the pages that it links to.
//!
//! These count as a page's images:
//!
//! * the picture of an `img` element: the largest of its `srcset`, else what scripts would load
//!   into it later (`data-src` and its like), else its `src`; an address that can't be fetched,
//!   such as a `data:` URI, and a value that can't be the address of a picture give way to the
//!   next;
//! * in the same way, the picture of each `source` in a `picture` element;
//! * the pictures that the page names to others: `og:image`, `twitter:image`, and those of its
//!   JSON-LD;
//! * the target of a link, if its name ends like that of an image file;
//! * all of that in a `noscript` element.
//!
//! Pictures inside the page itself (`data:` URLs) are icons and placeholders, and do not
//! count. A sitemap stands for the pages that it lists, and for the images that it names.
//!
//! * `html`, `picture`, `srcset`, `json_ld`: the images and links of a page.
//! * `sitemap`: those of a sitemap.
//! * `found`: what they find.
//! * `crawl`: the pages that are still to be visited, kept from step to step.
//! * `visit`: one page is fetched and read.

mod crawl;
mod found;
mod html;
mod json_ld;
mod picture;
mod sitemap;
mod srcset;
#[cfg(test)]
mod tests;
mod visit;

use std::sync::Arc;

use super::{
    candidate::{ExpansionStep, STEP_SIZE, SourceCandidate},
    error::ExpandError,
    provenance,
};
use crate::fetch::{FetchError, Fetcher};
use maskline_messages::{JobId, Labeling, shown};
use maskline_storage::ObjectStore;
use url::Url;
use visit::visit;

pub(super) use crawl::{Crawl, CrawlOptions};
pub use found::MAX_IMAGES;
pub use html::images;

/// How many pages one step visits. Each may have to wait for its host.
const STEP_PAGES: usize = 16;

/// How often a page that can't be fetched now is tried again before the crawl goes on without
/// it. The first page is tried as often as any message.
const ATTEMPTS: u32 = 4;

/// One step of a crawl.
pub(super) struct CrawlRequest<'a> {
    pub(super) job: JobId,
    pub(super) options: CrawlOptions,
    pub(super) labeling: Option<&'a Labeling>,
    pub(super) cursor: Option<&'a str>,
    /// How many candidates earlier steps found.
    pub(super) found: u64,
    /// How often this step was tried before.
    pub(super) attempts: u32,
}

/// Visits the next pages. `kept` is the crawl that an earlier step of the same source returned,
/// if this process still has it.
pub(super) async fn step(
    fetcher: &Fetcher,
    objects: &Arc<dyn ObjectStore>,
    request: CrawlRequest<'_>,
    kept: Option<Crawl>,
) -> Result<(ExpansionStep, Option<Crawl>), ExpandError> {
    let job = request.job;
    let mut crawl = match request.cursor {
        None => Crawl::begin(&request.options),
        Some(crawl::END) => {
            Crawl::clean_up(objects, job).await?;
            return Ok((ExpansionStep::default(), None));
        }
        Some(cursor) => match kept.filter(|kept| kept.is_at(cursor)) {
            Some(kept) => kept,
            None => match Crawl::load(objects, job, cursor).await? {
                Some(crawl) => crawl,
                // Another delivery of this step took the crawl to its end.
                None => return Ok((ExpansionStep::ending(crawl::END), None)),
            },
        },
    };
    let mut step = ExpansionStep::default();
    for visited in 0..STEP_PAGES {
        if step.candidates.len() >= STEP_SIZE {
            break;
        }
        let Some(page) = crawl.next_page() else {
            break;
        };
        let is_first = crawl.is_at_first();
        let content = match visit(fetcher, &page).await {
            Ok(content) => content,
            Err(FetchError::Retry { .. } | FetchError::Postponed { .. } | FetchError::Store(_))
                if visited > 0 =>
            {
                // The next step begins with this page, and is tried again by itself.
                crawl.put_back();
                break;
            }
            Err(error)
                if is_first
                    || matches!(error, FetchError::Postponed { .. } | FetchError::Store(_))
                    || (request.attempts < ATTEMPTS
                        && matches!(error, FetchError::Retry { .. })) =>
            {
                let what = format!("the page {}", shown(&page.url));
                return Err(ExpandError::fetching(&what, error));
            }
            Err(error) => {
                tracing::warn!(%job, page = shown(&page.url), %error, "the crawl goes on without a page");
                continue;
            }
        };
        let landing = content.url.clone();
        for image in crawl.add(&request.options, &page, content) {
            let mut candidate = SourceCandidate::at_url(image.url, request.labeling);
            candidate.provenance = provenance::of_page(&landing, image.description.as_deref());
            step.candidates.push(candidate);
        }
    }
    if crawl.has_more() {
        let next = crawl.save(objects, job).await?;
        step.next_cursor = Some(next);
        return Ok((step, Some(crawl)));
    }
    if request.found == 0 && step.candidates.is_empty() {
        Crawl::clean_up(objects, job).await?;
        return Err(ExpandError::Source(format!(
            "no images in the page {}: {}",
            shown(&request.options.url),
            advice(&request.options.url)
        )));
    }
    // A crawl of one step has kept nothing.
    step.next_cursor = request.cursor.map(|_| crawl::END.to_owned());
    Ok((step, None))
}

/// What to do about a page without images, by what its name says it is.
fn advice(page: &Url) -> &'static str {
    let path = page.path().to_ascii_lowercase();
    let ends_with = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
    if ends_with(&[
        ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".csv.gz", ".txt.gz",
    ]) {
        "it seems to be a list: enqueue it with `maskline enqueue urls`"
    } else if ends_with(&[".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst"]) {
        "it seems to be an archive: enqueue it with `maskline enqueue archive`"
    } else {
        "it may load them by scripts, which are not run. Enqueue a list of their addresses with \
         `maskline enqueue urls`"
    }
}
