//! The polite and careful HTTP client. Every hop of every request goes through the same
//! checks.
//!
//! * [`response`]: reading a body.
//! * [`api`]: requests to the APIs of services.
//! * [`status`], [`failure`]: what a status or an error means for the image.

mod api;
mod failure;
mod response;
mod status;

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use maskline_foundation::telemetry_names::{
    attribute::{OTEL_NAME, OTEL_STATUS_CODE},
    span::GET,
};
use maskline_messages::{Fetched, Reason, shown};
use reqwest::{
    Client, Method, Response, StatusCode,
    dns::Resolve,
    header::{ACCEPT, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH},
    redirect::Policy,
};
use tracing::{Instrument, Span, field::Empty};
use url::Url;

use super::{
    address,
    error::FetchError,
    host_limits::{HostLimits, HostPermit},
    limits::FetchLimits,
    resolver::PublicOnlyResolver,
    robots::{self, Permission, Robots, Rules},
};
use response::WebResponse;

pub(crate) use api::{ApiAnswer, ApiRequest};

/// What a request is for. It decides which media types are asked for and how long the
/// response may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResourceKind {
    Image,
    Page,
    /// A list of URLs, an archive or a dataset, which may have many megabytes.
    List,
    /// A robots.txt.
    Robots,
}

impl ResourceKind {
    /// The value of the `Accept` header (RFC 9110, section 12.5.1).
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
pub(crate) struct Web {
    client: Client,
    /// The client for addresses that the operator has named. It also connects to private ones.
    unrestricted: Client,
    hosts: HostLimits,
    /// `None` where robots.txt is not asked for.
    robots: Option<Robots>,
    limits: FetchLimits,
}

impl Web {
    /// A client that asks `resolver` for the addresses of names. Only public ones are
    /// used, unless the limits say otherwise.
    pub(super) fn new(
        limits: FetchLimits,
        user_agent: &str,
        resolver: Arc<dyn Resolve>,
    ) -> anyhow::Result<Self> {
        let client = |allow_private: bool| {
            let resolver = PublicOnlyResolver::new(resolver.clone(), allow_private);
            client(&limits, user_agent, Arc::new(resolver))
        };
        Ok(Self {
            client: client(limits.allow_private_hosts)?,
            unrestricted: client(true)?,
            hosts: HostLimits::new(limits.per_host, limits.per_host_rate),
            robots: (!limits.ignore_robots).then(Robots::default),
            limits,
        })
    }

    /// Asks for `url` and follows redirects. The response that it returns is a success.
    pub(crate) async fn get(
        &self,
        url: &Url,
        kind: ResourceKind,
    ) -> Result<WebResponse, FetchError> {
        let response = self.get_with(url, kind, &HeaderMap::new()).await?;
        status::check(response.head())?;
        Ok(response)
    }

    /// Asks for the image at `url` as [`get`](Self::get) does. Returns `None` if the server says
    /// that it has not changed since it was fetched `before` (RFC 9110, section 13).
    pub(crate) async fn get_if_changed(
        &self,
        url: &Url,
        before: Option<&Fetched>,
    ) -> Result<Option<WebResponse>, FetchError> {
        let conditions = before.map(conditions).unwrap_or_default();
        let response = self.get_with(url, ResourceKind::Image, &conditions).await?;
        let status = response.head().status();
        if status == StatusCode::NOT_MODIFIED && !conditions.is_empty() {
            return Ok(None);
        }
        status::check(response.head())?;
        Ok(Some(response))
    }

    /// Asks for `url` with these headers and follows redirects. The response may have any
    /// status that is no redirect.
    async fn get_with(
        &self,
        url: &Url,
        kind: ResourceKind,
        headers: &HeaderMap,
    ) -> Result<WebResponse, FetchError> {
        let redirects = match kind {
            ResourceKind::Robots => robots::REDIRECTS.max(self.limits.redirects),
            _ => self.limits.redirects,
        };
        let mut url = url.clone();
        // A fragment is not part of a request (RFC 9110, section 7.1).
        url.set_fragment(None);
        for hop in 0..=redirects {
            address::check(&url, self.limits.allow_private_hosts)?;
            if kind != ResourceKind::Robots {
                self.check_robots(&url).await?;
            }
            let response = self.request(&url, kind, headers, hop).await?;
            match status::next_hop(response.head(), &url)? {
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(Reason::TooManyRedirects { most: redirects }.into())
    }

    async fn check_robots(&self, url: &Url) -> Result<(), FetchError> {
        let Some(robots) = &self.robots else {
            return Ok(());
        };
        let fetch_rules = |robots_url| async move { self.fetch_rules(&robots_url).await };
        match robots.permission(url, fetch_rules).await {
            Permission::Allowed => Ok(()),
            Permission::Disallowed => Err(Reason::RobotsDisallowed { url: shown(url) }.into()),
            Permission::Unknown(reason) => Err(FetchError::retry(anyhow!(
                "the site's robots.txt can't be fetched, so nothing may be fetched from the \
                 site: {reason}"
            ))),
        }
    }

    async fn fetch_rules(&self, robots_url: &Url) -> Rules {
        // The future is boxed, because `get` calls this function, too.
        let got = Box::pin(self.get(robots_url, ResourceKind::Robots)).await;
        let text = match got {
            Ok(response) => response.first_bytes(robots::MAX_BYTES).await,
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => Rules::parse(&text),
            // A status of 4xx, or too many redirects, means that there are no rules
            // (RFC 9309, sections 2.3.1.2 and 2.3.1.3).
            Err(FetchError::Rejected(_)) => Rules::AllowAll,
            Err(error) => Rules::Unreachable(error.to_string()),
        }
    }

    /// Makes one request, when the host's limits allow it.
    async fn request(
        &self,
        url: &Url,
        kind: ResourceKind,
        headers: &HeaderMap,
        hop: u32,
    ) -> Result<WebResponse, FetchError> {
        // The check of the address let only URLs with a host through.
        let host = url.host_str().unwrap_or_default();
        let permit = self.hosts.acquire(host).await;
        let span = client_span(&Method::GET, url, hop);
        let timeout = match kind {
            ResourceKind::List => self.limits.list_timeout,
            _ => self.limits.timeout,
        };
        let sent = self
            .client
            .get(url.clone())
            .headers(headers.clone())
            .header(ACCEPT, kind.accept())
            .timeout(timeout)
            .send()
            .instrument(span.clone())
            .await;
        received(sent, span, permit)
    }
}

fn client(
    limits: &FetchLimits,
    user_agent: &str,
    resolver: Arc<PublicOnlyResolver>,
) -> anyhow::Result<Client> {
    let builder = || {
        Client::builder()
            .user_agent(user_agent)
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.timeout)
            .pool_max_idle_per_host(limits.per_host)
            .pool_idle_timeout(Duration::from_secs(30))
            // `get` checks each hop, so the client must follow none by itself.
            .redirect(Policy::none())
            .referer(false)
            // A proxy would connect to addresses that were never checked.
            .no_proxy()
            .dns_resolver(resolver.clone())
    };
    let client = builder().build().or_else(|error| {
        tracing::warn!(
            %error,
            "no CA certificates were found, so https will fail: install the package ca-certificates"
        );
        builder().tls_certs_only([]).build()
    });
    client.context("starting the HTTP client")
}

/// Records in the request's span what came of it.
fn received(
    sent: reqwest::Result<Response>,
    span: Span,
    permit: HostPermit,
) -> Result<WebResponse, FetchError> {
    match sent {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", i64::from(status.as_u16()));
            if status.is_client_error() || status.is_server_error() {
                span.record("error.type", status.as_str());
                span.record(OTEL_STATUS_CODE, "ERROR");
            }
            Ok(WebResponse::new(response, span, permit))
        }
        Err(error) => Err(failure::record(error, &span)),
    }
}

/// The headers that ask whether something has changed since it was fetched `before`. What a
/// server wrote that no header can have is left out.
fn conditions(before: &Fetched) -> HeaderMap {
    let given = [
        (IF_NONE_MATCH, &before.etag),
        (IF_MODIFIED_SINCE, &before.last_modified),
    ];
    let headers = given.into_iter().filter_map(|(name, value)| {
        let value = HeaderValue::from_str(value.as_deref()?).ok()?;
        Some((name, value))
    });
    headers.collect()
}

/// A span by OpenTelemetry's semantic conventions for HTTP clients. Its numbers are signed,
/// because unsigned ones would be exported as text.
fn client_span(method: &Method, url: &Url, hop: u32) -> Span {
    let span = tracing::info_span!(
        GET,
        { OTEL_NAME } = method.as_str(),
        otel.kind = "client",
        { OTEL_STATUS_CODE } = Empty,
        http.request.method = method.as_str(),
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
