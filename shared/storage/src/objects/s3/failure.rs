//! What the SDK's errors mean for the caller, and what can be done.

use std::error::Error;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};

use maskline_foundation::tls;

use crate::error::StorageError;

/// What the request was about.
pub(super) struct Subject<'a> {
    /// The object or the bucket, as a person finds it: `s3://bucket/key`.
    pub place: &'a str,
    pub bucket: &'a str,
    /// Where the requests go.
    pub server: &'a str,
}

pub(super) fn explain<E>(error: SdkError<E, HttpResponse>, about: Subject) -> StorageError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let Subject { place, server, .. } = about;
    match &error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let said = (answer.err().code(), answer.err().message());
            by_answer(status, said, about)
        }
        SdkError::TimeoutError(_) => {
            StorageError::Unavailable(format!("{place}: {server} does not answer in time"))
        }
        SdkError::DispatchFailure(failure) if failure.is_user() => {
            StorageError::Misconfigured(format!(
                "{place}: {server} can't be asked: {}",
                DisplayErrorContext(&error)
            ))
        }
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().map(|error| innermost(error));
            let cause = cause.unwrap_or_else(|| "no connection".to_owned());
            let advice = tls::advice(&cause, "AWS_CA_BUNDLE")
                .unwrap_or_else(|| "check that it runs, and its address".to_owned());
            StorageError::Unavailable(format!(
                "{place}: {server} can't be reached ({cause}): {advice}"
            ))
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            by_answer(status, (None, Some("an answer that is not S3's")), about)
        }
        _ => StorageError::Misconfigured(format!(
            "{place}: the request can't be made: {}",
            DisplayErrorContext(&error)
        )),
    }
}

/// `said`: code and message.
fn by_answer(
    status: u16,
    (code, message): (Option<&str>, Option<&str>),
    about: Subject,
) -> StorageError {
    let Subject {
        place,
        bucket,
        server,
    } = about;
    let said = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(one), None) | (None, Some(one)) => format!("{status} {one}"),
        (None, None) => status.to_string(),
    };
    match (code.unwrap_or_default(), status) {
        ("NoSuchBucket", _) => no_bucket(bucket, server),
        // Its bytes have to come again: no object is missing.
        ("NoSuchUpload", _) => StorageError::Unavailable(format!("{place}: {server} says {said}")),
        ("NoSuchKey" | "NotFound", _) | (_, 404) => StorageError::NotFound(place.to_owned()),
        (
            "SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout"
            | "OperationAborted" | "TooManyRequests" | "Throttling",
            _,
        )
        | (_, 408 | 409 | 429 | 500..) => {
            StorageError::Unavailable(format!("{place}: {server} says {said}"))
        }
        ("RequestTimeTooSkewed", _) => StorageError::Misconfigured(format!(
            "{server} refuses the request ({said}): set this machine's clock"
        )),
        (_, 401 | 403) => StorageError::Misconfigured(format!(
            "{server} refuses the credentials for {place} ({said}): check AWS_ACCESS_KEY_ID, \
             AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and what they may do with the bucket \
             {bucket}"
        )),
        ("InvalidBucketName", _) => StorageError::Misconfigured(format!(
            "{bucket:?} is no name for a bucket ({said}): use 3 to 63 small letters, digits and -"
        )),
        (_, 300..=399) => StorageError::Misconfigured(format!(
            "{server} has the bucket {bucket} elsewhere ({said}): name its region, or its endpoint"
        )),
        _ => StorageError::Internal(format!("{place}: {server} says {said}")),
    }
}

pub(super) fn no_bucket(bucket: &str, server: &str) -> StorageError {
    StorageError::Misconfigured(format!(
        "there is no bucket {bucket} at {server}: make it, or name another in the object store's \
         address"
    ))
}

/// The message that says most: the outer ones are "dispatch failure" and the like.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_kind_decides() {
        let kinds = [
            (404, Some("NoSuchKey"), "not_found"),
            (404, None, "not_found"),
            (404, Some("NoSuchUpload"), "unavailable"),
            (404, Some("NoSuchBucket"), "misconfigured"),
            (403, Some("SignatureDoesNotMatch"), "misconfigured"),
            (403, None, "misconfigured"),
            (403, Some("RequestTimeTooSkewed"), "misconfigured"),
            (301, Some("PermanentRedirect"), "misconfigured"),
            (503, Some("SlowDown"), "unavailable"),
            (500, None, "unavailable"),
            (400, Some("RequestTimeout"), "unavailable"),
            (409, Some("OperationAborted"), "unavailable"),
            (400, Some("EntityTooLarge"), "internal"),
        ];
        for (status, code, kind) in kinds {
            let about = Subject {
                place: "s3://faces/raw/a",
                bucket: "faces",
                server: "http://here",
            };
            let error = by_answer(status, (code, Some("why")), about);
            assert_eq!(error.kind(), kind, "{status} {code:?}: {error}");
        }
    }
}
