//! How every provider is asked: within its quota, with its key, and by its status codes.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use maskline_foundation::time::unix_millis;
use maskline_messages::SearchProvider;
use maskline_storage::{
    catalog::Quotas,
    records::{Quota, Turn},
};
use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::{error::SearchError, keys::redacted, settings::Endpoint, text::cleaned};
use crate::fetch::{ApiAnswer, ApiRequest, Fetcher};

/// The most characters of a provider's own words that are repeated.
const MAX_SAID: usize = 300;

/// The pause after an answer "too many requests" that names none.
const UNNAMED_PAUSE: Duration = Duration::from_secs(60);

/// What all providers are asked through.
pub(super) struct Client {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) quotas: Arc<dyn Quotas>,
}

/// A provider's API.
pub(super) struct Service {
    pub(super) client: Arc<Client>,
    pub(super) provider: SearchProvider,
    pub(super) endpoint: Endpoint,
    /// The key under which all replicas keep the quota, such as `search/openverse`.
    pub(super) quota_key: String,
    pub(super) quota: Quota,
    /// What no error may repeat.
    pub(super) secrets: Vec<SecretString>,
}

impl Service {
    /// Asks for `path` with these parameters, when it is our turn. Returns the JSON of a
    /// successful answer.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        headers: HeaderMap,
    ) -> Result<T, SearchError> {
        let mut url = self.endpoint.at(path);
        url.query_pairs_mut().extend_pairs(parameters);
        let request = ApiRequest {
            url,
            headers,
            form: None,
            is_operators: self.endpoint.is_operators,
        };
        self.ask(request).await
    }

    /// Sends a form to `path`, when it is our turn.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<T, SearchError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = ApiRequest {
            url: self.endpoint.at(path),
            headers: HeaderMap::new(),
            form: Some(form),
            is_operators: self.endpoint.is_operators,
        };
        self.ask(request).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: ApiRequest) -> Result<T, SearchError> {
        self.wait_for_turn().await?;
        let fetcher = &self.client.fetcher;
        let answer = fetcher.web().call(request, fetcher.budget()).await?;
        self.check_status(&answer).await?;
        self.read(&answer.bytes())
    }

    async fn wait_for_turn(&self) -> Result<(), SearchError> {
        let quotas = &self.client.quotas;
        let turn = quotas.take_turn(&self.quota_key, &self.quota, unix_millis());
        match turn.await.map_err(SearchError::Store)? {
            Turn::Granted => Ok(()),
            Turn::Wait(after) => Err(SearchError::NotYet {
                why: "no more requests are allowed now: the quota is used up, or the provider \
                      asked for a pause"
                    .to_owned(),
                after,
            }),
        }
    }

    async fn check_status(&self, answer: &ApiAnswer) -> Result<(), SearchError> {
        let status = answer.status;
        if status.is_success() {
            return Ok(());
        }
        let said = match self.said(&answer.bytes()) {
            Some(said) => format!("it answered {status} ({said})"),
            None => format!("it answered {status}"),
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(self.paused(said, answer.retry_after).await?),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(SearchError::Refused(said)),
            _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                Err(SearchError::Busy {
                    error: anyhow!(said),
                    after: answer.retry_after,
                })
            }
            _ if status.is_redirection() => Err(SearchError::BadRequest(format!(
                "{said}, which is a redirect. No redirect is followed, because it could lead a \
                 key astray"
            ))),
            _ => Err(SearchError::BadRequest(said)),
        }
    }

    /// Holds all replicas off, and returns what that means for this step. A provider that
    /// names a pause is waited for. One that names none may never let us in again, so that the
    /// attempt counts.
    async fn paused(
        &self,
        said: String,
        retry_after: Option<Duration>,
    ) -> Result<SearchError, SearchError> {
        let pause = retry_after.unwrap_or(UNNAMED_PAUSE);
        let quotas = &self.client.quotas;
        let held_off = quotas.hold_off(&self.quota_key, pause, unix_millis());
        held_off.await.map_err(SearchError::Store)?;
        Ok(match retry_after {
            Some(after) => SearchError::NotYet { why: said, after },
            None => SearchError::Busy {
                error: anyhow!(said),
                after: Some(pause),
            },
        })
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, SearchError> {
        let mut json = serde_json::Deserializer::from_slice(body);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = error.path().to_string();
            let error = error.into_inner();
            let problem = self.presentable(&error.to_string());
            match error.is_data() {
                true => SearchError::Changed { field, problem },
                // A page of a proxy, perhaps, or an answer that was cut off.
                false => {
                    SearchError::busy(anyhow!("it answered something that is no JSON: {problem}"))
                }
            }
        })
    }

    /// Reads an answer that was checked as JSON of any shape before.
    pub(super) fn read_value<T: DeserializeOwned>(
        &self,
        answer: serde_json::Value,
    ) -> Result<T, SearchError> {
        serde_path_to_error::deserialize(answer).map_err(|error| SearchError::Changed {
            field: error.path().to_string(),
            problem: self.presentable(&error.into_inner().to_string()),
        })
    }

    /// What an answer says about its error, where it says something.
    fn said(&self, body: &[u8]) -> Option<String> {
        let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
        let fields = ["detail", "error", "message", "info", "code"];
        let text = |value: &serde_json::Value| {
            let texts: Vec<_> = fields
                .iter()
                .filter_map(|name| value.get(name)?.as_str())
                .collect();
            (!texts.is_empty()).then(|| texts.join(", "))
        };
        let said = text(&answer).or_else(|| text(answer.get("error")?))?;
        Some(self.presentable(&said))
    }

    /// A text of the provider as an error may repeat it.
    pub(super) fn presentable(&self, text: &str) -> String {
        cleaned(&redacted(text, &self.secrets), MAX_SAID)
    }
}

/// A header with a secret, which no log shows.
pub(super) fn secret_header(name: HeaderName, value: &str) -> HeaderMap {
    let mut value =
        HeaderValue::from_str(value).expect("keys have no characters that a header can't have");
    value.set_sensitive(true);
    HeaderMap::from_iter([(name, value)])
}

/// The secret itself, to be sent.
pub(super) fn exposed(secret: &SecretString) -> &str {
    secret.expose_secret()
}
