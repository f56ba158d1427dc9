//! Openverse: openly licensed images, with or without a key.
//!
//! The API is described at <https://api.openverse.org/v1/>. A key is a client's id and secret,
//! which are exchanged for a token that lasts some hours (RFC 6749, section 4.4).

use std::time::{Duration, Instant};

use async_trait::async_trait;
use maskline_messages::{License, Search};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    error::SearchError,
    license::normalized,
    provider::{Provider, page_number},
    result::{ResultPage, SearchResult},
    service::{Service, exposed, secret_header},
};

/// The results of a page. Without a key more are refused.
const PAGE_SIZE: u64 = 20;
const PAGE_SIZE_WITH_KEY: u64 = 100;

/// How many results of one search are given without a key.
const MOST_WITHOUT_KEY: u64 = 240;

/// A token is renewed so long before it ends.
const EARLY: Duration = Duration::from_secs(60);

pub(super) struct Openverse {
    service: Service,
    /// The client's id and secret.
    client: Option<(SecretString, SecretString)>,
    token: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderMap,
    until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: u64,
}

#[derive(Deserialize)]
struct Answer {
    page_count: u64,
    results: Vec<Work>,
}

#[derive(Deserialize)]
struct Work {
    url: String,
    license: String,
    license_version: Option<String>,
    license_url: Option<String>,
    title: Option<String>,
    foreign_landing_url: Option<String>,
    creator: Option<String>,
    creator_url: Option<String>,
    attribution: Option<String>,
    source: Option<String>,
    width: Option<u64>,
    height: Option<u64>,
    thumbnail: Option<String>,
}

impl Openverse {
    pub(super) fn new(service: Service, client: Option<(SecretString, SecretString)>) -> Self {
        Self {
            service,
            client,
            token: Mutex::default(),
        }
    }

    /// The header that lets us in, and whether it was made just now. Without a key it is
    /// empty.
    async fn authorization(&self) -> Result<(HeaderMap, bool), SearchError> {
        let Some((id, secret)) = &self.client else {
            return Ok((HeaderMap::new(), true));
        };
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref().filter(|t| t.until > Instant::now()) {
            return Ok((token.header.clone(), false));
        }
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", exposed(id)),
            ("client_secret", exposed(secret)),
        ];
        let made: TokenAnswer = self.service.post("v1/auth_tokens/token/", &fields).await?;
        let is_sane = made.access_token.bytes().all(|b| b.is_ascii_graphic());
        if !is_sane {
            return Err(SearchError::Changed {
                field: "access_token".to_owned(),
                problem: "it has characters that no token has".to_owned(),
            });
        }
        let header = secret_header(AUTHORIZATION, &format!("Bearer {}", made.access_token));
        let lasts = Duration::from_secs(made.expires_in).saturating_sub(EARLY);
        let until = Instant::now().checked_add(lasts);
        *token = Some(Token {
            header: header.clone(),
            until: until.unwrap_or_else(Instant::now),
        });
        Ok((header, true))
    }

    async fn ask(&self, parameters: &[(&str, &str)]) -> Result<Answer, SearchError> {
        let path = "v1/images/";
        let (header, is_new) = self.authorization().await?;
        let answer = self.service.get(path, parameters, header).await;
        match answer {
            // An older token may have been withdrawn, and then a new one is accepted.
            Err(SearchError::Refused(_)) if !is_new => {
                self.token.lock().await.take();
                let (header, _) = self.authorization().await?;
                self.service.get(path, parameters, header).await
            }
            answer => answer,
        }
    }
}

#[async_trait]
impl Provider for Openverse {
    async fn page(&self, search: &Search, at: Option<&str>) -> Result<ResultPage, SearchError> {
        let number = page_number(at, 1)?;
        let (page_size, most) = match self.client {
            Some(_) => (PAGE_SIZE_WITH_KEY, u64::MAX),
            None => (PAGE_SIZE, MOST_WITHOUT_KEY),
        };
        let (page, size) = (number.to_string(), page_size.to_string());
        let licenses: Vec<_> = search.licenses.iter().map(|l| l.as_str()).collect();
        let licenses = licenses.join(",");
        let mut parameters = vec![
            ("q", search.query.as_str()),
            ("page", &page),
            ("page_size", &size),
            ("filter_dead", "true"),
            ("mature", "false"),
        ];
        if !licenses.is_empty() {
            parameters.push(("license", &licenses));
        }
        let Answer {
            page_count,
            results,
        } = self.ask(&parameters).await?;
        let goes_on =
            number < page_count && !results.is_empty() && number.saturating_mul(page_size) < most;
        Ok(ResultPage {
            next: goes_on.then(|| (number + 1).to_string()),
            results: results.into_iter().map(SearchResult::from).collect(),
        })
    }
}

impl From<Work> for SearchResult {
    fn from(work: Work) -> Self {
        let version = work.license_version.unwrap_or_default();
        let name = match License::of_provenance(&work.license) {
            Some(_) => format!("{} {version}", work.license),
            None => work.license,
        };
        Self {
            license: normalized(work.license_url.as_deref(), Some(&name)),
            license_url: work.license_url,
            image: Some(work.url),
            thumbnail: work.thumbnail,
            landing_page: work.foreign_landing_url,
            title: work.title,
            creator: work.creator,
            creator_url: work.creator_url,
            attribution: work.attribution,
            source: work.source,
            width: work.width,
            height: work.height,
            original: None,
        }
    }
}
