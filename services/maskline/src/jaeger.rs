//! A client of Jaeger's query API: it fetches a trace, and it knows the address of a
//! trace's page.
//!
//! The API is the documented one, <https://www.jaegertracing.io/docs/latest/apis/>, by its
//! version 3 over HTTP.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use maskline_messages::shown;
use reqwest::{Client, Response, StatusCode};
use url::Url;

use crate::span::{self, Span};

/// How long an answer may take. A person waits for it.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The most bytes that an answer may have. A person reads no tree of so many spans.
const MAX_ANSWER: usize = 64 << 20;

const HINT: &str = "--jaeger (MASKLINE_JAEGER) is the address of its pages, and \
    --jaeger-api (MASKLINE_JAEGER_API) the address of its query API if that is elsewhere";

/// A Jaeger. It has no debug output, because an address may hold a password.
#[derive(Clone)]
pub(crate) struct Jaeger {
    /// The address of its pages, without user and password.
    pages: Url,
    /// The address of its query API.
    api: Url,
}

impl Jaeger {
    /// Takes the address of its pages, such as `http://localhost:16686`, where its query
    /// API is, too.
    pub(crate) fn new(pages: Url) -> Result<Self> {
        let api = base(pages)?;
        Ok(Self {
            pages: without_credentials(api.clone()),
            api,
        })
    }

    /// The same Jaeger with its query API at another address, if one is given.
    pub(crate) fn with_api(self, api: Option<Url>) -> Result<Self> {
        match api {
            Some(api) => Ok(Self {
                api: base(api)?,
                ..self
            }),
            None => Ok(self),
        }
    }

    /// The address of a trace's page.
    pub(crate) fn trace_page(&self, trace: &str) -> Url {
        below(&self.pages, &["trace", trace])
    }

    /// Fetches the spans of a trace that have arrived, the earliest first. `None` means
    /// that Jaeger has no such trace.
    pub(crate) async fn trace(&self, trace: &str) -> Result<Option<Vec<Span>>> {
        let at = shown(&self.api);
        let url = below(&self.api, &["api", "v3", "traces", trace]);
        let answer = client()?.get(url).send().await;
        let answer = answer.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(|| format!("Jaeger can't be asked at {at}: {HINT}"))?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status().is_success() {
            bail!("Jaeger at {at} answered {}", answer.status());
        }
        let body = body(answer, MAX_ANSWER).await?;
        let spans = span::read(&body).with_context(|| {
            format!("the answer from {at} is no trace of Jaeger's API version 3: {HINT}")
        })?;
        Ok((!spans.is_empty()).then_some(spans))
    }
}

/// An address that the paths of the API and of the pages can be added to.
fn base(mut address: Url) -> Result<Url> {
    let Ok(mut path) = address.path_segments_mut() else {
        bail!("an address of Jaeger names no host: write http://HOST:16686");
    };
    path.pop_if_empty();
    drop(path);
    Ok(address)
}

/// An address that may be printed. A browser asks for the password that it leaves out.
fn without_credentials(mut address: Url) -> Url {
    address.set_query(None);
    address.set_fragment(None);
    // This fails only for addresses that can't have credentials, and so have none.
    let _ = address.set_username("");
    let _ = address.set_password(None);
    address
}

fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend(segments);
    }
    url
}

/// The body of an answer. A body of more than `limit` bytes is an error.
async fn body(mut answer: Response, limit: usize) -> Result<Vec<u8>> {
    let mut body = vec![];
    loop {
        let chunk = answer.chunk().await.map_err(reqwest::Error::without_url);
        let Some(chunk) = chunk.context("Jaeger's answer broke off: try again")? else {
            return Ok(body);
        };
        if chunk.len() > limit - body.len() {
            bail!("Jaeger's answer has more than {limit} bytes: look at the trace's page instead");
        }
        body.extend_from_slice(&chunk);
    }
}

fn client() -> Result<Client> {
    let builder = || Client::builder().timeout(TIMEOUT);
    // A bare container has no certificates of authorities. Plain http works without them.
    let client = builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build());
    client.context("the HTTP client can't start")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::{
        Router,
        http::{HeaderMap, header::AUTHORIZATION},
        routing::get,
    };
    use tokio::net::TcpListener;

    use super::*;

    fn jaeger(pages: &str) -> Jaeger {
        Jaeger::new(pages.parse().unwrap()).unwrap()
    }

    /// A Jaeger that has no traces, and that answers only those who are logged in.
    async fn locked() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = |headers: HeaderMap| async move {
            match headers.contains_key(AUTHORIZATION) {
                true => (StatusCode::OK, r#"{"result":{}}"#),
                false => (StatusCode::UNAUTHORIZED, ""),
            }
        };
        let router = Router::new().route("/api/v3/traces/{trace}", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    #[test]
    fn the_page_of_a_trace_is_below_the_address_of_the_pages() {
        for (base, page) in [
            ("http://localhost:16686", "http://localhost:16686/trace/ab"),
            ("https://host/jaeger/", "https://host/jaeger/trace/ab"),
            ("https://me:hunter2@h/?a=hunter2#b", "https://h/trace/ab"),
        ] {
            assert_eq!(jaeger(base).trace_page("ab").as_str(), page);
        }
        let no_base = Jaeger::new("me:hunter2@host".parse().unwrap());
        let error = no_base.err().expect("it has no host").to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_api_is_at_the_address_of_the_pages_unless_another_is_given() {
        let api_of = |jaeger: Jaeger| below(&jaeger.api, &["api"]).to_string();
        let pages = jaeger("http://me:hunter2@pages:1");
        assert_eq!(api_of(pages.clone()), "http://me:hunter2@pages:1/api");
        let same = pages.clone().with_api(None).unwrap();
        assert_eq!(api_of(same), "http://me:hunter2@pages:1/api");
        let api = "http://api:2/query/".parse().unwrap();
        let elsewhere = pages.clone().with_api(Some(api)).unwrap();
        assert_eq!(
            elsewhere.trace_page("ab").as_str(),
            "http://pages:1/trace/ab"
        );
        assert_eq!(api_of(elsewhere), "http://api:2/query/api");
        let no_base = "mailto:jaeger".parse().unwrap();
        assert!(pages.with_api(Some(no_base)).is_err());
    }

    #[tokio::test]
    async fn the_password_goes_to_jaeger_and_into_no_error() {
        let locked = locked().await;
        let with = |who: &str| {
            let api = format!("http://{who}{locked}").parse().unwrap();
            jaeger("http://pages").with_api(Some(api)).unwrap()
        };
        assert_eq!(with("me:hunter2@").trace("ab").await.unwrap(), None);
        let error = with("").trace("ab").await.unwrap_err();
        let expected = format!("Jaeger at http://{locked}/ answered 401 Unauthorized");
        assert_eq!(error.to_string(), expected);

        let nobody = jaeger("http://me:hunter2@127.0.0.1:1");
        let error = nobody.trace("ab").await.unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("asked at http://127.0.0.1:1/: --jaeger"));
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let answer = || Response::from(axum::http::Response::new("1234"));
        assert_eq!(body(answer(), 4).await.unwrap(), b"1234");
        let error = body(answer(), 3).await.unwrap_err().to_string();
        assert!(error.contains("more than 3 bytes"), "{error}");
    }
}
