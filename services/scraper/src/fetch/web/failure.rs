//! What an error of the HTTP client means for the image.

use std::error::Error as StdError;

use maskline_foundation::{error::with_causes, telemetry_names::attribute::OTEL_STATUS_CODE};
use maskline_messages::{Reason, shown};
use tracing::Span;

use crate::fetch::{error::FetchError, resolver::NotPublic};

/// Records the error in the request's span and says what it means for the image.
pub(super) fn record(error: reqwest::Error, span: &Span) -> FetchError {
    span.record("error.type", error_type(&error));
    span.record(OTEL_STATUS_CODE, "ERROR");
    classify(error)
}

/// Records in the request's span that the server was too slow.
pub(super) fn record_too_slow(span: &Span) {
    span.record("error.type", "timeout");
    span.record(OTEL_STATUS_CODE, "ERROR");
}

fn classify(error: reqwest::Error) -> FetchError {
    if let Some(NotPublic { host }) = cause(&error) {
        let address = host.clone();
        return Reason::RefusedAddress { address }.into();
    }
    // The server would say the same again.
    if let Some(error) = cause::<hyper::Error>(&error).filter(|error| error.is_parse()) {
        let detail = format!("the server's answer is not HTTP: {}", with_causes(error));
        return Reason::Undecodable { detail }.into();
    }
    // The error itself would show the whole URL, with any secret in it.
    let url = error.url().map(shown);
    if error.is_builder() {
        let address = format!("the address {}", url.unwrap_or_default());
        return Reason::RefusedAddress { address }.into();
    }
    let error = anyhow::Error::new(error.without_url());
    FetchError::retry(match url {
        Some(url) => error.context(format!("{url} can't be fetched now")),
        None => error,
    })
}

fn error_type(error: &reqwest::Error) -> &'static str {
    match error {
        _ if cause::<NotPublic>(error).is_some() => "refused_address",
        _ if error.is_timeout() => "timeout",
        _ if error.is_connect() => "connect",
        _ => "transfer",
    }
}

/// The first error of this type in the chain of causes.
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
