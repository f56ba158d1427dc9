//! What an error of the HTTP client means for the image.

use std::{error::Error as StdError, io};

use maskline_foundation::telemetry_names::attribute::OTEL_STATUS_CODE;
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
    if error.is_decode() && cause::<io::Error>(&error).is_some_and(is_broken_data) {
        let detail = "the compressed answer is broken".to_owned();
        return Reason::Undecodable { detail }.into();
    }
    // The error itself would show the whole URL, with any secret in it.
    let url = error.url().map(shown);
    let error = anyhow::Error::new(error.without_url());
    FetchError::retry(match url {
        Some(url) => error.context(format!("{url} can't be fetched now")),
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
