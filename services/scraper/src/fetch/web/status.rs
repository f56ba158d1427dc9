//! What a response's status and headers mean: a redirect, a retry, a rejection or a success.

use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use maskline_foundation::text::shortened;
use maskline_messages::{Reason, is_too_long, shown};
use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, LOCATION, RETRY_AFTER},
};
use url::Url;

use crate::fetch::error::FetchError;

/// The longest pause that is granted to a server that asks for one.
const MAX_PAUSE: Duration = Duration::from_secs(10 * 60);

/// The URL that a redirect leads to (RFC 9110, sections 10.2.2 and 15.4). It is `None` if the
/// response is not a redirect. `url` is the one that was asked for.
pub(super) fn next_hop(response: &Response, url: &Url) -> Result<Option<Url>, FetchError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(location.as_bytes());
    let mut next = url.join(&text).map_err(|_| Reason::RefusedAddress {
        address: shortened(&text, 300),
    })?;
    next.set_fragment(None);
    match is_too_long(&next) {
        true => Err(Reason::RefusedAddress {
            address: format!("a redirect to an address of {} bytes", next.as_str().len()),
        }
        .into()),
        false => Ok(Some(next)),
    }
}

/// Passes a success. A status that may pass is tried again: 5xx, 408 (RFC 9110) and 429
/// (RFC 6585, section 4). Any other means that there is no image.
pub(super) fn check(response: &Response) -> Result<(), FetchError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    if !may_pass(status) {
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

/// Whether a later answer may have another status.
pub(super) fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}

/// The pause that a server asks for, with a bound.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    Some(pause_asked(headers, now)?.min(MAX_PAUSE))
}

/// The pause that a server asks for: seconds or a date (RFC 9110, section 10.2.3).
pub(super) fn pause_asked(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
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
