//! Brave's image search, with a key.
//!
//! The API is described at <https://api-dashboard.search.brave.com/app/documentation/image-search>.
//! It gives one page, and says nothing about licences.

use async_trait::async_trait;
use maskline_messages::Search;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    error::SearchError,
    provider::Provider,
    result::{ResultPage, SearchResult},
    service::{Service, exposed, secret_header},
};

/// The results of the one page, which are the most that can be asked for.
const COUNT: &str = "200";

/// Brave says by this code, with the status of a bad request, that it does not know the key.
const BAD_KEY: &str = "SUBSCRIPTION_TOKEN_INVALID";

pub(super) struct Brave {
    service: Service,
    key: SecretString,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    title: Option<String>,
    /// The page with the image.
    url: Option<String>,
    source: Option<String>,
    thumbnail: Option<Thumbnail>,
    properties: Option<Properties>,
    width: Option<u64>,
    height: Option<u64>,
}

#[derive(Deserialize)]
struct Thumbnail {
    src: Option<String>,
}

#[derive(Deserialize)]
struct Properties {
    /// The image itself.
    url: Option<String>,
    width: Option<u64>,
    height: Option<u64>,
}

impl Brave {
    pub(super) fn new(service: Service, key: SecretString) -> Self {
        Self { service, key }
    }
}

#[async_trait]
impl Provider for Brave {
    async fn page(&self, search: &Search, _: Option<&str>) -> Result<ResultPage, SearchError> {
        let parameters = [("q", search.query.as_str()), ("count", COUNT)];
        let name = HeaderName::from_static("x-subscription-token");
        let headers = secret_header(name, exposed(&self.key));
        let path = "res/v1/images/search";
        let answer = self.service.get(path, &parameters, headers).await;
        let answer: Answer = answer.map_err(|error| match error {
            SearchError::BadRequest(said) if said.contains(BAD_KEY) => SearchError::Refused(said),
            error => error,
        })?;
        let has_address = |image: &Image| image.properties.is_some() || image.thumbnail.is_some();
        if !answer.results.is_empty() && !answer.results.iter().any(has_address) {
            return Err(SearchError::missing("results[0].properties"));
        }
        Ok(ResultPage {
            results: answer.results.into_iter().map(SearchResult::from).collect(),
            next: None,
        })
    }
}

impl From<Image> for SearchResult {
    fn from(image: Image) -> Self {
        let properties = image.properties.unwrap_or(Properties {
            url: None,
            width: None,
            height: None,
        });
        Self {
            image: properties.url,
            thumbnail: image.thumbnail.and_then(|thumbnail| thumbnail.src),
            width: image.width.or(properties.width),
            height: image.height.or(properties.height),
            title: image.title,
            landing_page: image.url,
            source: image.source,
            ..Self::default()
        }
    }
}
