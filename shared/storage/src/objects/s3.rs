//! Objects in S3: Amazon's, MinIO's, or another server's that speaks it.

mod address;
mod failure;
mod trust;
mod upload;

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use aws_config::{
    environment::EnvironmentVariableCredentialsProvider,
    meta::credentials::CredentialsProviderChain, profile::ProfileFileCredentialsProvider,
};
use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, ProvideCredentials, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, http::HttpResponse, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{BucketLocationConstraint, CreateBucketConfiguration},
};
use bytes::Bytes;
use maskline_messages::ObjectKey;
use opentelemetry_semantic_conventions::trace;
use tracing::{Instrument, Span, field, info_span};

use self::{
    address::Address,
    failure::{Subject, explain, no_bucket},
    upload::Multipart,
};
use super::{ObjectStore, Upload, is_prefix};
use crate::error::StorageError;

/// The region whose buckets are made without naming it.
const DEFAULT_REGION: &str = "us-east-1";

const CONNECTING: Duration = Duration::from_secs(5);
/// Until the first byte of an answer.
const READING: Duration = Duration::from_secs(30);
/// One attempt at an operation, and all of them with their pauses: a shard of
/// 100 MB may take its time. A body that stands still ends sooner, by the SDK's
/// own watch.
const ATTEMPT: Duration = Duration::from_secs(120);
const OPERATION: Duration = Duration::from_secs(180);
/// A probe waits no longer.
const PING: Duration = Duration::from_secs(5);

/// Few and quick: whoever handles the message tries again later, too.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Keys in one page of a listing, the most that S3 gives.
const PAGE: usize = 1_000;

/// A bucket, or what lies below a prefix in it.
pub struct S3 {
    client: Client,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    /// Where the requests go, for messages.
    server: String,
    /// The same as host and port; `None`: Amazon's, by region.
    host: Option<(String, u16)>,
    region: String,
}

impl S3 {
    /// Opens the bucket, or makes it where it is missing and the credentials allow it.
    pub async fn open(address: &str) -> Result<Self, StorageError> {
        let address = Address::parse(address)?;
        let variables = EnvironmentVariableCredentialsProvider::new();
        let file = ProfileFileCredentialsProvider::builder().build();
        let credentials =
            CredentialsProviderChain::first_try("Environment", variables).or_else("Profile", file);
        if credentials.provide_credentials().await.is_err() {
            return Err(StorageError::Misconfigured(
                "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                 or AWS_SHARED_CREDENTIALS_FILE to a file of AWS's format that has them"
                    .to_owned(),
            ));
        }
        let times = TimeoutConfig::builder()
            .connect_timeout(CONNECTING)
            .read_timeout(READING)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION);
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(FIRST_PAUSE);
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(address.region.clone()))
            .credentials_provider(credentials)
            .timeout_config(times.build())
            .retry_config(retries)
            // Not all servers know the checksums in trailers that the SDK sends by
            // itself, and every body is signed with its SHA-256 anyway.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(file) = &address.authorities {
            config = config.http_client(trust::in_authorities(file)?);
        }
        let mut server = format!("S3 in {}", address.region);
        if let Some(endpoint) = &address.endpoint {
            server = endpoint.as_str().trim_end_matches('/').to_owned();
            // BUCKET.HOST is a name that other servers' domains rarely have.
            config = config.endpoint_url(&server).force_path_style(true);
        }
        let mut prefix = address.prefix;
        if !prefix.is_empty() {
            prefix.push('/');
        }
        let host = address.endpoint.as_ref().and_then(|endpoint| {
            let host = endpoint.host_str()?.to_owned();
            Some((host, endpoint.port_or_known_default()?))
        });
        let store = Self {
            client: Client::from_conf(config.build()),
            bucket: address.bucket,
            prefix,
            server,
            host,
            region: address.region,
        };
        store
            .make_bucket_if_missing(address.endpoint.is_none())
            .await?;
        Ok(store)
    }

    async fn make_bucket_if_missing(&self, is_amazons: bool) -> Result<(), StorageError> {
        let there = self.head_bucket().await;
        if !matches!(there, Err(StorageError::NotFound(_))) {
            return there;
        }
        let mut request = self.client.create_bucket().bucket(&self.bucket);
        if is_amazons && self.region != DEFAULT_REGION {
            let place = CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(self.region.as_str()));
            request = request.create_bucket_configuration(place.build());
        }
        let made = async {
            match request.send().await {
                // Another process was quicker.
                Err(error) if is_there_already(error.code()) => Ok(()),
                made => made.map(drop),
            }
        };
        match self.traced("S3/CreateBucket", None, made).await {
            Err(StorageError::Misconfigured(problem)) => {
                let missing = no_bucket(&self.bucket, &self.server);
                Err(StorageError::Misconfigured(format!(
                    "{missing} (it can't be made now: {problem})"
                )))
            }
            made => made,
        }
    }

    /// [`StorageError::NotFound`] where there is no such bucket.
    async fn head_bucket(&self) -> Result<(), StorageError> {
        let request = self.client.head_bucket().bucket(&self.bucket);
        self.traced("S3/HeadBucket", None, request.send())
            .await
            .map(drop)
    }

    /// The name of an object in the bucket.
    fn name(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The inverse of [`S3::name`]; `None` for what is no key: somebody else put
    /// it there.
    fn key(&self, name: &str) -> Option<ObjectKey> {
        name.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// Runs one operation in a client span after OpenTelemetry's conventions for
    /// AWS SDKs. `method`: `S3/` and its name in the API.
    async fn traced<T, E>(
        &self,
        method: &'static str,
        key: Option<&ObjectKey>,
        work: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, StorageError>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let name = key.map(|key| self.name(key));
        // Probes are no part of anybody's trace.
        let span = match Span::current().is_none() {
            true => Span::none(),
            false => self.span(method, name.as_deref()),
        };
        let outcome = work.instrument(span.clone()).await;
        outcome.map_err(|error| {
            let place = match name {
                Some(name) => format!("s3://{}/{name}", self.bucket),
                None => format!("s3://{}", self.bucket),
            };
            let about = Subject {
                place: &place,
                bucket: &self.bucket,
                server: &self.server,
            };
            let error = explain(error, about);
            // That there is none is an answer.
            if !matches!(error, StorageError::NotFound(_)) {
                span.record("otel.status_code", "ERROR");
                span.record("otel.status_description", field::display(&error));
            }
            span.record(trace::ERROR_TYPE, error.kind());
            error
        })
    }

    fn span(&self, method: &'static str, name: Option<&str>) -> Span {
        let host = self.host.as_ref();
        info_span!(
            "objects",
            otel.name = method,
            otel.kind = "client",
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
            { trace::RPC_SYSTEM_NAME } = "aws-api",
            { trace::RPC_METHOD } = method,
            { trace::AWS_S3_BUCKET } = self.bucket,
            { trace::AWS_S3_KEY } = name,
            { trace::CLOUD_REGION } = self.region,
            { trace::SERVER_ADDRESS } = host.map(|(host, _)| host.as_str()),
            // Signed: else it would leave as text.
            { trace::SERVER_PORT } = host.map(|(_, port)| i64::from(*port)),
            { trace::ERROR_TYPE } = field::Empty,
        )
    }
}

fn is_there_already(code: Option<&str>) -> bool {
    matches!(
        code,
        Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists")
    )
}

#[async_trait]
impl ObjectStore for S3 {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StorageError> {
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .body(ByteStream::from(bytes));
        self.traced("S3/PutObject", Some(key), request.send())
            .await
            .map(drop)
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload + '_>, StorageError> {
        Ok(Box::new(Multipart::new(self, key)))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StorageError> {
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.name(key));
        let reading = async {
            let object = request.send().await?;
            let body = object.body.collect().await;
            // The connection broke, or nothing more came.
            let broken = |error| SdkError::dispatch_failure(ConnectorError::io(Box::new(error)));
            let body = body.map_err(broken)?;
            Ok(body.into_bytes())
        };
        self.traced("S3/GetObject", Some(key), reading).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StorageError> {
        let request = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(self.name(key));
        match self
            .traced("S3/HeadObject", Some(key), request.send())
            .await
        {
            Ok(head) => {
                let length = head.content_length.and_then(|n| u64::try_from(n).ok());
                let unknown = || {
                    let place = self.locate(key);
                    StorageError::Internal(format!("{} gives no size of {place}", self.server))
                };
                length.ok_or_else(unknown).map(Some)
            }
            Err(StorageError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.name(key));
        match self
            .traced("S3/DeleteObject", Some(key), request.send())
            .await
        {
            Err(StorageError::NotFound(_)) => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        most: usize,
    ) -> Result<Vec<ObjectKey>, StorageError> {
        if !is_prefix(prefix) {
            return Ok(vec![]);
        }
        let mut below = format!("{}{}", self.prefix, prefix.trim_matches('/'));
        if !below.is_empty() && !below.ends_with('/') {
            below.push('/');
        }
        let mut keys = vec![];
        let mut next = None;
        while keys.len() < most {
            let wanted = (most - keys.len()).min(PAGE) as i32;
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(&below)
                .set_start_after(after.map(|key| self.name(key)))
                .set_continuation_token(next.take())
                .max_keys(wanted);
            let page = self
                .traced("S3/ListObjectsV2", None, request.send())
                .await?;
            let names = page.contents().iter().filter_map(|object| object.key());
            keys.extend(names.filter_map(|name| self.key(name)));
            next = page.next_continuation_token;
            if next.is_none() {
                break;
            }
        }
        Ok(keys)
    }

    async fn ping(&self) -> Result<(), StorageError> {
        match tokio::time::timeout(PING, self.head_bucket()).await {
            Ok(Err(StorageError::NotFound(_))) => Err(no_bucket(&self.bucket, &self.server)),
            Ok(answer) => answer,
            Err(_) => Err(StorageError::Unavailable(format!(
                "{} does not answer within {} s",
                self.server,
                PING.as_secs()
            ))),
        }
    }

    fn locate(&self, key: &ObjectKey) -> String {
        format!("s3://{}/{}", self.bucket, self.name(key))
    }
}
