//! Turns the SDK's errors into errors of a store that say what can be done.

use std::{error::Error, fmt};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use maskline_foundation::tls;

use crate::error::StorageError;

/// The object or the bucket that a request is about, and the server.
pub(super) struct Subject<'a> {
    /// The address of the object or the bucket: `s3://bucket/key`.
    pub uri: &'a str,
    pub bucket: &'a str,
    /// The server that the requests go to.
    pub server: &'a str,
}

/// An answer of a server that refuses a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    code: Option<String>,
    message: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, &self.message) {
            (Some(code), Some(message)) => write!(f, "{code}: {message}"),
            (Some(one), None) | (None, Some(one)) => write!(f, "{} {one}", self.status),
            (None, None) => write!(f, "{}", self.status),
        }
    }
}

impl Error for Answer {}

/// The store's error for an error of the SDK.
pub(super) fn explain<E>(error: SdkError<E, HttpResponse>, about: Subject) -> StorageError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let Subject { uri, server, .. } = about;
    let explained = match &error {
        SdkError::ServiceError(answer) => {
            let (code, message) = (answer.err().code(), answer.err().message());
            return by_answer(
                Answer {
                    status: answer.raw().status().as_u16(),
                    code: code.map(str::to_owned),
                    message: message.map(str::to_owned),
                },
                about,
            );
        }
        SdkError::ResponseError(answer) => {
            return by_answer(
                Answer {
                    status: answer.raw().status().as_u16(),
                    code: None,
                    message: Some("an answer that is not S3's".to_owned()),
                },
                about,
            );
        }
        SdkError::TimeoutError(_) => {
            StorageError::unavailable(format!("{uri}: {server} does not answer in time"))
        }
        SdkError::DispatchFailure(failure) if failure.is_user() => {
            StorageError::misconfigured(format!("{uri}: {server} can't be asked"))
        }
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().map(|error| innermost(error));
            let advice = cause.and_then(|cause| tls::advice(&cause, "AWS_CA_BUNDLE"));
            let advice = advice.unwrap_or_else(|| "check that it runs, and its address".to_owned());
            StorageError::unavailable(format!("{uri}: {server} can't be reached: {advice}"))
        }
        _ => StorageError::misconfigured(format!("{uri}: the request can't be made")),
    };
    explained.caused_by(error)
}

fn by_answer(answer: Answer, about: Subject) -> StorageError {
    let Subject {
        uri,
        bucket,
        server,
    } = about;
    let unavailable = || StorageError::unavailable(format!("{uri}: {server} can't do it now"));
    let explained = match (answer.code.as_deref().unwrap_or_default(), answer.status) {
        ("NoSuchBucket", _) => StorageError::misconfigured(no_bucket(bucket, server)),
        // No object is missing: the upload's bytes have to come again.
        ("NoSuchUpload", _) => unavailable(),
        ("NoSuchKey" | "NotFound", _) | (_, 404) => StorageError::not_found(uri),
        (
            "SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout"
            | "OperationAborted" | "TooManyRequests" | "Throttling",
            _,
        )
        | (_, 408 | 409 | 429 | 500..) => unavailable(),
        ("RequestTimeTooSkewed", _) => StorageError::misconfigured(format!(
            "{server} refuses the request: set this machine's clock"
        )),
        (_, 401 | 403) => StorageError::misconfigured(format!(
            "{server} refuses the credentials for {uri}: check AWS_ACCESS_KEY_ID, \
             AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and what they may do with the bucket \
             {bucket}"
        )),
        ("InvalidBucketName", _) => StorageError::misconfigured(format!(
            "{bucket:?} is no name for a bucket: use 3 to 63 small letters, digits and -"
        )),
        (_, 300..=399) => StorageError::misconfigured(format!(
            "{server} has the bucket {bucket} elsewhere: name its region, or its endpoint"
        )),
        _ => StorageError::internal(format!("{uri}: {server} refuses the request")),
    };
    explained.caused_by(answer)
}

/// The text for a bucket that does not exist.
pub(super) fn no_bucket(bucket: &str, server: &str) -> String {
    format!(
        "there is no bucket {bucket} at {server}: make it, or name another in the object store's \
         address"
    )
}

/// The innermost cause, which says most: the outer ones are "dispatch failure" and the like.
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
                uri: "s3://faces/raw/a",
                bucket: "faces",
                server: "http://here",
            };
            let answer = Answer {
                status,
                code: code.map(str::to_owned),
                message: Some("why".to_owned()),
            };
            let error = by_answer(answer, about);
            assert_eq!(error.kind().as_str(), kind, "{status} {code:?}: {error}");
        }
    }
}
