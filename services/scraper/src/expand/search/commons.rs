//! Wikimedia Commons, through MediaWiki's API, without a key.
//!
//! The API is described at <https://www.mediawiki.org/wiki/API:Main_page>. Each image is taken
//! in the width of a screen, at the address that the API names: Wikimedia asks crawlers not to
//! load originals, and not to make up the addresses of smaller pictures.

use std::collections::BTreeMap;

use anyhow::anyhow;
use async_trait::async_trait;
use maskline_messages::Search;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::{
    error::SearchError,
    license::normalized,
    provider::Provider,
    result::{ResultPage, SearchResult},
    service::Service,
    text::Html,
};

/// A query that begins like this names a category, whose files are taken.
const CATEGORY: &str = "Category:";

/// The width in pixels in which images are taken. Smaller ones come as they are.
const WIDTH: &str = "960";

/// Errors of MediaWiki that pass.
const PASSING: [&str; 3] = ["ratelimited", "maxlag", "readonly"];

pub(super) struct Commons {
    service: Service,
}

#[derive(Deserialize)]
struct Answer {
    /// All properties of these pages are in this answer or in those before it.
    #[serde(default)]
    batchcomplete: bool,
    /// What to send back for the next page.
    #[serde(rename = "continue")]
    next: Option<BTreeMap<String, Value>>,
    /// It is missing where there is no result.
    query: Option<Query>,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    code: String,
    info: String,
}

#[derive(Deserialize)]
struct Query {
    pages: Vec<Page>,
}

#[derive(Deserialize)]
struct Page {
    title: String,
    /// The place among the results of a search.
    index: Option<i64>,
    /// It may come only with a later answer about the same pages.
    imageinfo: Option<Vec<ImageInfo>>,
}

#[derive(Deserialize)]
struct ImageInfo {
    url: String,
    thumburl: Option<String>,
    width: Option<u64>,
    height: Option<u64>,
    mime: Option<String>,
    descriptionurl: Option<String>,
    /// An object, or an empty list where there is nothing in it.
    #[serde(default)]
    extmetadata: Value,
}

impl Commons {
    pub(super) fn new(service: Service) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Provider for Commons {
    async fn page(&self, search: &Search, at: Option<&str>) -> Result<ResultPage, SearchError> {
        let goes_on_at = at.map(continuation).transpose()?.unwrap_or_default();
        let query = search.query.trim();
        let words = format!("filetype:bitmap {query}");
        let is_category = query
            .get(..CATEGORY.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(CATEGORY));
        let generator = match is_category {
            true => vec![
                ("generator", "categorymembers"),
                ("gcmtitle", query),
                ("gcmtype", "file"),
                ("gcmlimit", "50"),
            ],
            false => vec![
                ("generator", "search"),
                ("gsrnamespace", "6"),
                ("gsrsearch", &words),
                ("gsrlimit", "50"),
            ],
        };
        let mut parameters = vec![
            ("action", "query"),
            ("format", "json"),
            ("formatversion", "2"),
            ("prop", "imageinfo"),
            ("iiprop", "url|size|mime|extmetadata"),
            ("iiurlwidth", WIDTH),
            ("iiextmetadatafilter", "Artist|LicenseShortName|LicenseUrl"),
        ];
        parameters.extend(generator);
        parameters.extend(goes_on_at.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let path = "w/api.php";
        let answer: Answer = self
            .service
            .get(path, &parameters, HeaderMap::new())
            .await?;
        if let Some(ApiError { code, info }) = answer.error {
            let said = self.service.presentable(&format!("{code}: {info}"));
            return Err(match PASSING.contains(&code.as_str()) {
                true => SearchError::busy(anyhow!("it answered {said}")),
                false => SearchError::BadRequest(said),
            });
        }
        let mut pages = answer.query.map(|query| query.pages).unwrap_or_default();
        let without_info = pages.iter().all(|page| page.imageinfo.is_none());
        if answer.batchcomplete && !pages.is_empty() && without_info && at.is_none() {
            return Err(SearchError::missing("query.pages[0].imageinfo"));
        }
        pages.sort_by_key(|page| page.index);
        let next = answer
            .next
            .map(|next| serde_json::to_string(&next).expect("it was JSON when it came"));
        Ok(ResultPage {
            results: pages.into_iter().filter_map(result).collect(),
            next,
        })
    }
}

/// The parameters with which the next page is asked for, from those that came with the last.
fn continuation(page: &str) -> Result<BTreeMap<String, String>, SearchError> {
    let values: BTreeMap<String, Value> = serde_json::from_str(page)
        .map_err(|error| SearchError::BadCursor(format!("{page:?} is not a page: {error}")))?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(values.into_iter().map(|(k, v)| (k, text(v))).collect())
}

/// The result on a page. A file that is no picture, such as a film in a category, is none.
fn result(page: Page) -> Option<SearchResult> {
    let info = page.imageinfo?.into_iter().next()?;
    let is_picture = |mime: &str| mime.starts_with("image/");
    if !info.mime.as_deref().is_none_or(is_picture) {
        return None;
    }
    let metadata = |name: &str| {
        let value = info.extmetadata.get(name)?.get("value")?.as_str()?;
        Some(value.to_owned())
    };
    let artist = metadata("Artist").map(|html| Html::read(&html));
    let license_url = metadata("LicenseUrl");
    let name = metadata("LicenseShortName");
    let (creator, creator_url) = match artist {
        Some(Html { text, link }) => (Some(text), link),
        None => (None, None),
    };
    let title = page.title.strip_prefix("File:").unwrap_or(&page.title);
    let is_smaller = info
        .thumburl
        .as_ref()
        .is_some_and(|thumb| *thumb != info.url);
    Some(SearchResult {
        title: Some(title.to_owned()),
        landing_page: info.descriptionurl,
        creator,
        creator_url,
        license: normalized(license_url.as_deref(), name.as_deref()),
        license_url,
        width: info.width,
        height: info.height,
        original: is_smaller.then(|| info.url.clone()),
        image: Some(info.thumburl.unwrap_or(info.url)),
        source: Some("wikimedia".to_owned()),
        ..SearchResult::default()
    })
}
