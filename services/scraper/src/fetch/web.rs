//! The polite and careful HTTP client. Every hop of every request goes through the same
//! checks.
//!
//! * [`response`]: reading a body. [`content_encoding`]: decoding it.
//! * [`api`]: requests to the APIs of services.
//! * [`status`], [`failure`]: what a status or an error means for the image.

mod api;
mod content_encoding;
mod failure;
mod response;
mod status;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, anyhow};
use maskline_foundation::telemetry_names::{
    attribute::{OTEL_NAME, OTEL_STATUS_CODE},
    span::GET,
};
use maskline_messages::{Fetched, JobId, Reason, shown};
use maskline_storage::catalog::Quotas;
use reqwest::{
    Client, Method, RequestBuilder, StatusCode,
    dns::Resolve,
    header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH},
    redirect::Policy,
};
use tracing::{Instrument, Span, field::Empty};
use url::Url;

use super::{
    address,
    error::FetchError,
    hosts::{Hosts, Purpose, Visit},
    limits::FetchLimits,
    opt_out,
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
    hosts: Hosts,
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
        quotas: Arc<dyn Quotas>,
    ) -> anyhow::Result<Self> {
        let client = |allow_private: bool| {
            let resolver = PublicOnlyResolver::new(resolver.clone(), allow_private);
            client(&limits, user_agent, Arc::new(resolver))
        };
        Ok(Self {
            client: client(limits.allow_private_hosts)?,
            unrestricted: client(true)?,
            hosts: Hosts::new(limits.in_hand, limits.retry, limits.sites.clone(), quotas),
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
        let none = HeaderMap::new();
        let response = self.get_with(url, kind, Purpose::Other, &none).await?;
        status::check(response.head())?;
        if kind == ResourceKind::Page {
            self.check_opt_outs(&response)?;
        }
        Ok(response)
    }

    /// Asks for the image at `url` as [`get`](Self::get) does. Returns `None` if the server says
    /// that it has not changed since it was fetched `before` (RFC 9110, section 13).
    pub(crate) async fn get_if_changed(
        &self,
        job: JobId,
        url: &Url,
        before: Option<&Fetched>,
    ) -> Result<Option<WebResponse>, FetchError> {
        let conditions = before.map(conditions).unwrap_or_default();
        let purpose = Purpose::Image(job);
        let response = self
            .get_with(url, ResourceKind::Image, purpose, &conditions)
            .await?;
        let status = response.head().status();
        let is_unchanged = status == StatusCode::NOT_MODIFIED && !conditions.is_empty();
        if !is_unchanged {
            status::check(response.head())?;
        }
        self.check_opt_outs(&response)?;
        Ok((!is_unchanged).then_some(response))
    }

    /// Refuses what its site does not want to be used. The body is not read.
    fn check_opt_outs(&self, response: &WebResponse) -> Result<(), FetchError> {
        if self.limits.ignore_opt_outs {
            return Ok(());
        }
        Ok(opt_out::check_headers(response.head().headers())?)
    }

    /// Asks for `url` with these headers and follows redirects. The response may have any
    /// status that is no redirect.
    async fn get_with(
        &self,
        url: &Url,
        kind: ResourceKind,
        purpose: Purpose,
        headers: &HeaderMap,
    ) -> Result<WebResponse, FetchError> {
        let redirects = self.limits.redirects;
        let mut url = url.clone();
        // A fragment is not part of a request (RFC 9110, section 7.1).
        url.set_fragment(None);
        let mut earlier: Option<Visit> = None;
        for hop in 0..=redirects {
            address::check(&url, self.limits.allow_private_hosts)?;
            let visit = match earlier.take().filter(|visit| visit.is_at(&url)) {
                Some(visit) => {
                    visit.another_turn().await?;
                    visit
                }
                None => self.hosts.enter(&url, purpose, hop).await?,
            };
            earlier = Some(visit.clone());
            let asking = async {
                self.check_robots(&url, &visit).await?;
                self.request(&url, kind, headers, hop, visit.clone()).await
            };
            let response = visit.giving_way(asking).await?;
            match status::next_hop(response.head(), &url)? {
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(Reason::TooManyRedirects { most: redirects }.into())
    }

    /// Asks for the site's robots.txt within the visit, if it is not known. What is asked for
    /// after it needs another turn.
    async fn check_robots(&self, url: &Url, visit: &Visit) -> Result<(), FetchError> {
        let Some(robots) = &self.robots else {
            return Ok(());
        };
        let asked = AtomicBool::new(false);
        let fetch_rules = |robots_url| {
            asked.store(true, Ordering::Relaxed);
            async move { self.fetch_rules(robots_url, visit).await }
        };
        match robots.permission(url, fetch_rules).await {
            Permission::Allowed if asked.into_inner() => visit.another_turn().await,
            Permission::Allowed => Ok(()),
            Permission::Disallowed => Err(Reason::RobotsDisallowed { url: shown(url) }.into()),
            Permission::Unknown(reason) => Err(FetchError::retry(anyhow!(
                "the site's robots.txt can't be fetched, so nothing may be fetched from the \
                 site: {reason}"
            ))),
        }
    }

    async fn fetch_rules(&self, robots_url: Url, visit: &Visit) -> Rules {
        let got = self.get_robots(robots_url, visit).await;
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

    /// Asks for a robots.txt, whose server is visited already, and follows redirects.
    async fn get_robots(&self, mut url: Url, visit: &Visit) -> Result<WebResponse, FetchError> {
        let (kind, none) = (ResourceKind::Robots, HeaderMap::new());
        let redirects = robots::REDIRECTS.max(self.limits.redirects);
        let mut visit = visit.clone();
        for hop in 0..=redirects {
            address::check(&url, self.limits.allow_private_hosts)?;
            let response = self.request(&url, kind, &none, hop, visit.clone()).await?;
            let Some(next) = status::next_hop(response.head(), &url)? else {
                status::check(response.head())?;
                return Ok(response);
            };
            drop(response);
            // A redirect mostly leads to the same server, which is visited already.
            match visit.is_at(&next) {
                true => visit.another_turn().await?,
                false => visit = self.hosts.enter(&next, Purpose::Other, hop).await?,
            }
            url = next;
        }
        Err(Reason::TooManyRedirects { most: redirects }.into())
    }

    /// Makes one request.
    async fn request(
        &self,
        url: &Url,
        kind: ResourceKind,
        headers: &HeaderMap,
        hop: u32,
        visit: Visit,
    ) -> Result<WebResponse, FetchError> {
        let span = client_span(&Method::GET, url, hop);
        let timeout = match kind {
            ResourceKind::List => self.limits.list_timeout,
            _ => self.limits.timeout,
        };
        let request = self
            .client
            .get(url.clone())
            .headers(headers.clone())
            .header(ACCEPT, kind.accept())
            .timeout(timeout);
        self.send(request, span, visit, kind != ResourceKind::Robots)
            .await
    }

    /// Sends a request, waits for the headers of the answer and records what came of it.
    /// `is_proof` says whether a whole answer shows that the server does what it is for.
    async fn send(
        &self,
        request: RequestBuilder,
        span: Span,
        visit: Visit,
        is_proof: bool,
    ) -> Result<WebResponse, FetchError> {
        let sending = request.send().instrument(span.clone());
        let answer = tokio::time::timeout(self.limits.answer_timeout, sending).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let error = failure::record(error, &span);
                if let FetchError::Retry { error, .. } = &error {
                    visit.failed(&format!("{error:#}"), None);
                }
                return Err(error);
            }
            Err(_) => {
                let said = format!(
                    "there was no answer within {} s",
                    self.limits.answer_timeout.as_secs()
                );
                failure::record_too_slow(&span);
                visit.failed(&said, None);
                return Err(FetchError::retry(anyhow!(said)));
            }
        };
        let status = response.status();
        span.record("http.response.status_code", i64::from(status.as_u16()));
        if status.is_client_error() || status.is_server_error() {
            span.record("error.type", status.as_str());
            span.record(OTEL_STATUS_CODE, "ERROR");
        }
        if status::may_pass(status) {
            let pause = status::retry_after(response.headers(), SystemTime::now());
            visit.failed(&format!("it answered {status}"), pause);
        } else if is_proof && (status.is_client_error() || status == StatusCode::NOT_MODIFIED) {
            visit.succeeded();
        }
        let min_rate = self.limits.min_rate;
        Ok(WebResponse::new(response, span, visit, is_proof, min_rate))
    }
}

/// How many open connections to a host are kept for later.
const MAX_IDLE: usize = 8;

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
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_idle_timeout(Duration::from_secs(30))
            // `get` checks each hop, so the client must follow none by itself.
            .redirect(Policy::none())
            .referer(false)
            .default_headers(HeaderMap::from_iter([(
                ACCEPT_ENCODING,
                HeaderValue::from_static(content_encoding::ACCEPTED),
            )]))
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
