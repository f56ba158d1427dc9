//! Requests to the APIs of services.
//!
//! They go through the same client as all others. Unlike those they may have keys, so no
//! redirect is followed, and robots.txt is not asked: an API is made for programs.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use maskline_foundation::ByteBudget;
use maskline_messages::Reason;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap},
};
use url::Url;

use super::{Web, client_span, status};
use crate::fetch::{address, body::Body, error::FetchError, hosts::Purpose};

/// How many bytes an answer may have.
const MAX_BYTES: u64 = 16 << 20;

/// A request to an API, whose answer is JSON.
pub(crate) struct ApiRequest {
    pub(crate) url: Url,
    /// Headers besides the usual ones, such as one with a key.
    pub(crate) headers: HeaderMap,
    /// The fields of a form, encoded. With them the request is a POST.
    pub(crate) form: Option<String>,
    /// The operator has named this address, so that it may be private.
    pub(crate) is_operators: bool,
}

/// The answer of an API, whatever its status is.
pub(crate) struct ApiAnswer {
    pub(crate) status: StatusCode,
    /// The pause that the server asks for.
    pub(crate) retry_after: Option<Duration>,
    /// It is `None` for an answer without a body.
    body: Option<Body>,
}

impl ApiAnswer {
    pub(crate) fn bytes(&self) -> Bytes {
        let body = self.body.as_ref();
        body.map(|body| body.bytes.clone()).unwrap_or_default()
    }
}

impl Web {
    /// Makes one request to an API. The body takes room in `budget` until the answer is
    /// dropped. No error contains a key.
    pub(crate) async fn call(
        &self,
        request: ApiRequest,
        budget: &ByteBudget,
    ) -> Result<ApiAnswer, FetchError> {
        let allow_private = request.is_operators || self.limits.allow_private_hosts;
        address::check(&request.url, allow_private)?;
        let client = match allow_private {
            true => &self.unrestricted,
            false => &self.client,
        };
        let method = match request.form {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let visit = self.hosts.enter(&request.url, Purpose::Api, 0).await?;
        let span = client_span(&method, &request.url, 0);
        let mut sending = client
            .request(method, request.url)
            .headers(request.headers)
            .header(ACCEPT, "application/json")
            .timeout(self.limits.timeout);
        if let Some(form) = request.form {
            let sort = "application/x-www-form-urlencoded";
            sending = sending.header(CONTENT_TYPE, sort).body(form);
        }
        let response = self.send(sending, span, visit, true).await?;
        let status = response.head().status();
        let retry_after = status::pause_asked(response.head().headers(), SystemTime::now());
        let body = match response.body(MAX_BYTES, budget).await {
            Ok(body) => Some(body),
            Err(FetchError::Rejected(Reason::Empty)) => None,
            Err(error) => return Err(error),
        };
        Ok(ApiAnswer {
            status,
            retry_after,
            body,
        })
    }
}
