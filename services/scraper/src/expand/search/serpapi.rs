//! Google Images and Bing Images, asked through SerpApi, with a key.
//!
//! The API is described at <https://serpapi.com/google-images-api> and
//! <https://serpapi.com/bing-images-api>. It says nothing about licences.

use async_trait::async_trait;
use maskline_messages::Search;
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    error::SearchError,
    provider::{Provider, page_number},
    result::{ResultPage, SearchResult},
    service::{Service, exposed},
};

/// A search engine that SerpApi asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Google,
    Bing,
}

pub(super) struct Serpapi {
    service: Service,
    engine: Engine,
    key: SecretString,
}

#[derive(Deserialize)]
struct Answer {
    /// After the last page this says that there are no results.
    error: Option<String>,
    images_results: Option<Vec<Image>>,
}

#[derive(Deserialize)]
struct Image {
    original: Option<String>,
    thumbnail: Option<String>,
    original_width: Option<u64>,
    original_height: Option<u64>,
    title: Option<String>,
    /// The page with the image.
    link: Option<String>,
    source: Option<String>,
}

impl Serpapi {
    pub(super) fn new(service: Service, engine: Engine, key: SecretString) -> Self {
        Self {
            service,
            engine,
            key,
        }
    }
}

#[async_trait]
impl Provider for Serpapi {
    async fn page(&self, search: &Search, at: Option<&str>) -> Result<ResultPage, SearchError> {
        // Google's pages are counted from 0. Bing wants the number of the first result.
        let (engine, name, first) = match self.engine {
            Engine::Google => ("google_images", "ijn", 0),
            Engine::Bing => ("bing_images", "first", 1),
        };
        let number = page_number(at, first)?;
        let page = number.to_string();
        let parameters = [
            ("engine", engine),
            ("q", &search.query),
            (name, &page),
            ("api_key", exposed(&self.key)),
        ];
        let path = "search.json";
        let answer: Answer = self
            .service
            .get(path, &parameters, HeaderMap::new())
            .await?;
        let images = match (answer.images_results, answer.error) {
            (Some(images), _) => images,
            (None, Some(said)) => {
                let said = self.service.presentable(&said);
                tracing::info!(provider = %self.service.provider, said, "no more results");
                vec![]
            }
            (None, None) => return Err(SearchError::missing("images_results")),
        };
        let next = match self.engine {
            Engine::Google => number.saturating_add(1),
            Engine::Bing => number.saturating_add(images.len() as u64),
        };
        Ok(ResultPage {
            next: (!images.is_empty()).then(|| next.to_string()),
            results: images.into_iter().map(SearchResult::from).collect(),
        })
    }
}

impl From<Image> for SearchResult {
    fn from(image: Image) -> Self {
        Self {
            image: image.original,
            thumbnail: image.thumbnail,
            width: image.original_width,
            height: image.original_height,
            title: image.title,
            landing_page: image.link,
            source: image.source,
            ..Self::default()
        }
    }
}
