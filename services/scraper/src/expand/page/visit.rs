//! One page is fetched and read.

use std::io::Read;

use maskline_messages::Reason;
use url::Url;

use super::{
    crawl::PageToVisit,
    found::{Found, FoundImage, PageContent},
    html, sitemap,
};
use crate::{
    expand::{compression::Compression, image_names::is_image, text},
    fetch::{Body, FetchError, Fetcher, ResourceKind, check_page},
    turns::without_turn,
};

/// How many bytes a page may have.
const MAX_PAGE: u64 = 10 << 20;

/// How many bytes a sitemap may have (sitemaps.org), also when it is decompressed.
const MAX_SITEMAP: u64 = 50 << 20;

/// What came for the address of a page.
enum Fetched {
    /// A text in which images may be found.
    Text(FetchedText),
    /// Something else, of which all is known without its bytes.
    Other(PageContent),
}

struct FetchedText {
    body: Body,
    /// Where it came from in the end.
    url: Url,
    content_type: Option<String>,
    /// How many bytes it may have when it is decompressed.
    most: u64,
}

/// Fetches a page and finds what is in it.
pub(super) async fn visit(
    fetcher: &Fetcher,
    page: &PageToVisit,
) -> Result<PageContent, FetchError> {
    let fetched = match without_turn(fetch(fetcher, page)).await? {
        Fetched::Other(content) => return Ok(content),
        Fetched::Text(fetched) => fetched,
    };
    let obeys_opt_outs = fetcher.obeys_opt_outs();
    let reading = tokio::task::spawn_blocking(move || read(fetched, obeys_opt_outs));
    reading.await.map_err(FetchError::retry)?
}

/// Finds what is in a page.
fn read(fetched: FetchedText, obeys_opt_outs: bool) -> Result<PageContent, FetchError> {
    let FetchedText {
        body,
        url,
        content_type,
        most,
    } = fetched;
    let unpacked = unpacked(&body.bytes, most)?;
    let html = unpacked.as_deref().unwrap_or(&body.bytes);
    let (text, encoding) = text::page(html, content_type.as_deref());
    if obeys_opt_outs {
        check_page(&text)?;
    }
    let mut content = PageContent {
        bytes: body.bytes.len() as u64,
        ..nothing(url)
    };
    let found = match sitemap::kind_of(&text) {
        Some(kind) => {
            content.sitemap = Some(kind);
            let mut found = Found::new(content.url.clone(), encoding_rs::UTF_8);
            sitemap::read(&text, &content.url, &mut found);
            found
        }
        None => html::read(&text, &content.url, encoding),
    };
    (content.images, content.links) = (found.images, found.links);
    Ok(content)
}

async fn fetch(fetcher: &Fetcher, page: &PageToVisit) -> Result<Fetched, FetchError> {
    let response = fetcher.web().get(&page.url, ResourceKind::Page).await?;
    let url = response.url().clone();
    let content_type = response.content_type();
    // What a page links to need not be a page. An image counts as one, under whatever name.
    let media = content_type.as_deref().unwrap_or("text/html");
    if media.starts_with("image/") && !media.starts_with("image/svg") {
        return Ok(Fetched::Other(PageContent {
            images: vec![FoundImage {
                url: url.clone(),
                description: None,
            }],
            ..nothing(url)
        }));
    }
    let may_be_sitemap = is_sitemap_name(page.url.path()) || is_sitemap_name(url.path());
    let most = match may_be_sitemap {
        true => MAX_SITEMAP,
        false => MAX_PAGE,
    };
    let is_readable = ["html", "xml", "text", "gzip", "octet-stream"]
        .iter()
        .any(|kind| media.contains(kind));
    if !is_readable {
        return Ok(Fetched::Other(nothing(url)));
    }
    match response.body(most, fetcher.budget()).await {
        Ok(body) => Ok(Fetched::Text(FetchedText {
            body,
            url,
            content_type,
            most,
        })),
        Err(FetchError::Rejected(Reason::Empty)) => Ok(Fetched::Other(nothing(url))),
        Err(error) => Err(error),
    }
}

/// A page without anything in it.
fn nothing(url: Url) -> PageContent {
    PageContent {
        url,
        bytes: 0,
        images: vec![],
        links: vec![],
        sitemap: None,
    }
}

/// The content of a body that is compressed by itself, as sitemaps are.
fn unpacked(body: &[u8], most: u64) -> Result<Option<Vec<u8>>, FetchError> {
    let Ok(Compression::Gzip) = Compression::of(body) else {
        return Ok(None);
    };
    let mut content = vec![];
    let read = Compression::Gzip
        .decoder(body)
        .and_then(|decoder| decoder.take(most + 1).read_to_end(&mut content));
    if let Err(error) = read {
        let detail = format!("the compressed page is broken: {error}");
        return Err(Reason::Undecodable { detail }.into());
    }
    match content.len() as u64 {
        bytes if bytes > most => Err(Reason::TooManyBytes { bytes, most }.into()),
        _ => Ok(Some(content)),
    }
}

fn is_sitemap_name(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    !is_image(&path)
        && (path.contains("sitemap") || path.ends_with(".xml") || path.ends_with(".gz"))
}
