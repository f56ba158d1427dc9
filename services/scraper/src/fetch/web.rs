//! The polite and careful HTTP client: every hop of every request goes through
//! the same checks.

use std::{
    error::Error as StdError,
    io::{self, Write},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use maskline_foundation::ByteBudget;
use maskline_messages::{ImageId, Reason, shown};
use reqwest::{
    Client, Response, StatusCode,
    dns::Resolve,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER},
    redirect::Policy,
};
use sha2::{Digest, Sha256};
use tracing::{Instrument, Span, field::Empty};
use url::Url;

use super::{
    Body, FetchError, Limits,
    address::{self, PublicOnly, Refused},
    hosts::{Hosts, Turn},
    robots::{self, Robots, Rules, Verdict},
};

/// How every request introduces itself.
pub const USER_AGENT: &str = concat!(
    "maskline/",
    env!("CARGO_PKG_VERSION"),
    " (+",
    env!("CARGO_PKG_REPOSITORY"),
    ")"
);

/// The room that a body of unknown size begins with, in bytes.
pub const BEGINNING: u64 = 256 << 10;

/// A server may ask for a pause, but not for any.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// RFC 9309, section 2.3.1.2: follow at least five redirects to a robots.txt.
const ROBOTS_REDIRECTS: u32 = 5;

/// What is wanted, which decides about time and what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Image,
    Page,
    /// A list of URLs, which may have many megabytes.
    List,
    Robots,
}

impl Wanted {
    fn accept(self) -> &'static str {
        match self {
            Self::Image => "image/*,*/*;q=0.5",
            Self::Page => "text/html,application/xhtml+xml,*/*;q=0.5",
            Self::List => "text/csv,text/plain,*/*;q=0.5",
            Self::Robots => "text/plain,*/*;q=0.5",
        }
    }
}

/// The client.
pub struct Web {
    client: Client,
    hosts: Hosts,
    /// `None`: robots.txt is not asked for.
    robots: Option<Robots>,
    limits: Limits,
}

impl Web {
    /// `resolver` is asked for the addresses of names; only public ones are used
    /// unless the limits say otherwise.
    pub fn new(limits: Limits, resolver: Arc<dyn Resolve>) -> anyhow::Result<Self> {
        let resolver = Arc::new(PublicOnly::new(resolver, limits.allow_private_hosts));
        let builder = || {
            Client::builder()
                .user_agent(USER_AGENT)
                .connect_timeout(limits.connect_timeout)
                .read_timeout(limits.timeout)
                .pool_max_idle_per_host(limits.per_host)
                .pool_idle_timeout(Duration::from_secs(30))
                // Each hop is checked here, so the client follows none by itself.
                .redirect(Policy::none())
                .referer(false)
                // A proxy would connect to addresses that were never checked.
                .no_proxy()
                .dns_resolver(resolver.clone())
        };
        let client = builder().build().or_else(|error| {
            tracing::warn!(
                %error,
                "no certificates of authorities here, so https will fail: install the package ca-certificates"
            );
            builder().tls_certs_only([]).build()
        });
        Ok(Self {
            client: client.context("starting the HTTP client")?,
            hosts: Hosts::new(limits.per_host, limits.per_host_rate),
            robots: (!limits.ignore_robots).then(Robots::default),
            limits,
        })
    }

    /// Asks for `url` and follows redirects. The answer's status is a success.
    pub async fn get(&self, url: &Url, wanted: Wanted) -> Result<Answer, FetchError> {
        let most = match wanted {
            Wanted::Robots => ROBOTS_REDIRECTS.max(self.limits.redirects),
            _ => self.limits.redirects,
        };
        let mut url = url.clone();
        url.set_fragment(None);
        for hop in 0..=most {
            address::check(&url, self.limits.allow_private_hosts)?;
            if wanted != Wanted::Robots {
                self.ask_robots(&url).await?;
            }
            let answer = self.request(&url, wanted, hop).await?;
            match next_hop(&answer.response, &url)? {
                Some(next) => url = next,
                None => {
                    check_status(&answer.response)?;
                    return Ok(answer);
                }
            }
        }
        Err(Reason::TooManyRedirects { most }.into())
    }

    async fn ask_robots(&self, url: &Url) -> Result<(), FetchError> {
        let Some(robots) = &self.robots else {
            return Ok(());
        };
        let ask = |robots_url| async move { self.rules(&robots_url).await };
        match robots.verdict(url, ask).await {
            Verdict::Allowed => Ok(()),
            Verdict::Disallowed => Err(Reason::RobotsDisallowed { url: shown(url) }.into()),
            Verdict::Unreachable(why) => Err(FetchError::retry(anyhow!(
                "the site's robots.txt can't be had, so nothing may be fetched from it: {why}"
            ))),
        }
    }

    async fn rules(&self, robots_url: &Url) -> Rules {
        // Boxed, because `get` asks robots, too.
        let got = Box::pin(self.get(robots_url, Wanted::Robots)).await;
        let text = match got {
            Ok(answer) => answer.beginning(robots::MOST_BYTES).await,
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => Rules::parse(&text),
            // "Unavailable" in the RFC's words: 4xx, or redirects without end.
            Err(FetchError::Rejected(_)) => Rules::AllowAll,
            Err(error) => Rules::Unreachable(error.to_string()),
        }
    }

    async fn request(&self, url: &Url, wanted: Wanted, hop: u32) -> Result<Answer, FetchError> {
        // `check` let only URLs with a host through.
        let host = url.host_str().unwrap_or_default();
        let turn = self.hosts.turn(host).await;
        let span = client_span(url, hop);
        let timeout = match wanted {
            Wanted::List => self.limits.list_timeout,
            _ => self.limits.timeout,
        };
        let sent = self
            .client
            .get(url.clone())
            .header(ACCEPT, wanted.accept())
            .timeout(timeout)
            .send()
            .instrument(span.clone())
            .await;
        match sent {
            Ok(response) => {
                let status = response.status();
                span.record("http.response.status_code", i64::from(status.as_u16()));
                if status.is_client_error() || status.is_server_error() {
                    span.record("error.type", status.as_str());
                    span.record("otel.status_code", "ERROR");
                }
                Ok(Answer {
                    response,
                    span,
                    _turn: turn,
                })
            }
            Err(error) => {
                span.record("error.type", error_type(&error));
                span.record("otel.status_code", "ERROR");
                Err(classify(error))
            }
        }
    }
}

/// A span by OpenTelemetry's conventions for HTTP clients. Its numbers are signed:
/// others would leave as text.
fn client_span(url: &Url, hop: u32) -> Span {
    let span = tracing::info_span!(
        "GET",
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = "GET",
        http.response.status_code = Empty,
        http.request.resend_count = Empty,
        url.full = shown(url),
        server.address = url.host_str(),
        server.port = url.port_or_known_default().map(i64::from),
        error.type = Empty,
    );
    if hop > 0 {
        span.record("http.request.resend_count", i64::from(hop));
    }
    span
}

/// An answer whose body is still to be read.
pub struct Answer {
    response: Response,
    span: Span,
    _turn: Turn,
}

impl Answer {
    /// The URL that answered, after redirects.
    pub fn url(&self) -> &Url {
        self.response.url()
    }

    /// As the server said it, which need not be true.
    pub fn content_type(&self) -> Option<String> {
        let value = self.response.headers().get(CONTENT_TYPE)?;
        Some(address::shortened(value.to_str().ok()?, 200))
    }

    /// The whole body, decoded where it was compressed, at most `most` bytes.
    pub async fn body(mut self, most: u64, budget: &ByteBudget) -> Result<Body, FetchError> {
        let announced = self.response.content_length();
        if let Some(bytes) = announced.filter(|bytes| *bytes > most) {
            return Err(Reason::TooManyBytes { bytes, most }.into());
        }
        let mut room = budget.room(announced.unwrap_or(BEGINNING)).await;
        let mut bytes = Vec::with_capacity(announced.unwrap_or_default() as usize);
        let mut digest = Sha256::new();
        while let Some(chunk) = self.chunk().await? {
            let read = bytes.len() as u64 + chunk.len() as u64;
            if read > most {
                return Err(Reason::TooManyBytes { bytes: read, most }.into());
            }
            room.grow_to(read).await;
            digest.update(&chunk);
            bytes.extend_from_slice(&chunk);
        }
        if bytes.is_empty() {
            return Err(Reason::Empty.into());
        }
        Ok(Body {
            bytes: Bytes::from(bytes),
            image: ImageId::from_digest(digest.finalize().into()),
            room,
        })
    }

    /// The body's first bytes, at most `most`; what follows is not read.
    async fn beginning(mut self, most: usize) -> Result<Vec<u8>, FetchError> {
        let mut bytes = vec![];
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk[..chunk.len().min(most - bytes.len())]);
            if bytes.len() == most {
                break;
            }
        }
        Ok(bytes)
    }

    /// Writes the body to `file` and returns its SHA-256, at most `most` bytes.
    pub async fn spool(mut self, file: &mut impl Write, most: u64) -> Result<String, FetchError> {
        let (mut read, mut digest) = (0, Sha256::new());
        while let Some(chunk) = self.chunk().await? {
            read += chunk.len() as u64;
            if read > most {
                return Err(Reason::TooManyBytes { bytes: read, most }.into());
            }
            digest.update(&chunk);
            // A chunk is a few KiB into the page cache.
            file.write_all(&chunk).map_err(FetchError::retry)?;
        }
        Ok(hex::encode(digest.finalize()))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        let chunk = self.response.chunk().instrument(self.span.clone()).await;
        chunk.map_err(|error| {
            self.span.record("error.type", error_type(&error));
            self.span.record("otel.status_code", "ERROR");
            classify(error)
        })
    }
}

/// Where a redirect leads; `None` if the response is none.
fn next_hop(response: &Response, at: &Url) -> Result<Option<Url>, FetchError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(location.as_bytes());
    let mut next = at.join(&text).map_err(|_| Reason::RefusedAddress {
        address: address::shortened(&text, 300),
    })?;
    next.set_fragment(None);
    Ok(Some(next))
}

/// A success passes. Statuses that may pass are tried again, the others are an
/// answer: there is no image.
fn check_status(response: &Response) -> Result<(), FetchError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
    if !passing {
        return Err(Reason::HttpStatus {
            status: status.as_u16(),
        }
        .into());
    }
    Err(FetchError::Retry {
        error: anyhow!("{} answered {status}", shown(response.url())),
        after: retry_after(response.headers(), SystemTime::now()),
    })
}

/// RFC 9110, section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(pause.min(LONGEST_PAUSE))
}

fn classify(error: reqwest::Error) -> FetchError {
    if let Some(Refused(host)) = cause(&error) {
        let address = host.clone();
        return Reason::RefusedAddress { address }.into();
    }
    if error.is_decode() && cause::<io::Error>(&error).is_some_and(is_broken_data) {
        let detail = "the compressed answer is broken".to_owned();
        return Reason::Undecodable { detail }.into();
    }
    // What the error itself says of the address is all of it, tokens included.
    let at = error.url().map(shown);
    let error = anyhow::Error::new(error.without_url());
    FetchError::retry(match at {
        Some(url) => error.context(format!("{url} can't be had")),
        None => error,
    })
}

fn is_broken_data(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
    )
}

fn error_type(error: &reqwest::Error) -> &'static str {
    match error {
        _ if cause::<Refused>(error).is_some() => "refused_address",
        _ if error.is_timeout() => "timeout",
        _ if error.is_connect() => "connect",
        _ => "transfer",
    }
}

/// The first cause of the kind asked for.
fn cause<E: StdError + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let cases = [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999", Some(600)),
            ("Fri, 31 Dec 2100 23:59:59 GMT", Some(600)),
            ("-1", None),
            ("soon", None),
        ];
        for (text, expected) in cases {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
