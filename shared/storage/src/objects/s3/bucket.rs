//! The bucket: how it is opened, and how requests to its server are made.

use std::{future::Future, time::Duration};

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
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{BucketLocationConstraint, CreateBucketConfiguration},
};
use bytes::Bytes;
use maskline_foundation::telemetry_names::{
    attribute::{OTEL_NAME, OTEL_STATUS_CODE, OTEL_STATUS_DESCRIPTION},
    span::OBJECTS,
};
use maskline_messages::ObjectKey;
use opentelemetry_semantic_conventions::trace;
use tracing::{Instrument, Span, field, info_span};

use super::{
    address::Address,
    failure::{Subject, explain, no_bucket},
    trust,
};
use crate::error::{StorageError, StorageErrorKind};

/// The region that must not be named when a bucket is made in it.
const DEFAULT_REGION: &str = "us-east-1";

const CONNECTING: Duration = Duration::from_secs(5);
/// The time until the first byte of an answer.
const READING: Duration = Duration::from_secs(30);
/// The times for one attempt at an operation, and for all of them with their pauses. They
/// are long, because a shard of 100 MB takes its time. If nothing of a body comes for a
/// while, the SDK ends it sooner.
const ATTEMPT: Duration = Duration::from_secs(120);
const OPERATION: Duration = Duration::from_secs(180);
/// There are few and quick attempts, because the message is tried again later, too.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A bucket, or a part of it: the keys that begin with a prefix.
pub(super) struct Bucket {
    pub client: Client,
    pub name: String,
    /// Begins every name in the bucket. It is empty, or ends with a slash.
    pub prefix: String,
    /// The server that the requests go to, as errors name it.
    pub server: String,
    /// The same server as host and port. `None` for Amazon's, which depends on the region.
    host: Option<(String, u16)>,
    region: String,
}

impl Bucket {
    /// Opens the bucket, or makes it if it is missing and the credentials allow it.
    pub async fn open(address: &str) -> Result<Self, StorageError> {
        let address = Address::parse(address)?;
        let credentials = credentials();
        if credentials.provide_credentials().await.is_err() {
            return Err(StorageError::misconfigured(
                "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                 or AWS_SHARED_CREDENTIALS_FILE to a file of AWS's format that has them"
                    .to_owned(),
            ));
        }
        let is_amazons = address.endpoint.is_none();
        let store = Self::connect(address, |config| config.credentials_provider(credentials))?;
        store.make_bucket_if_missing(is_amazons).await?;
        Ok(store)
    }

    /// Opens a bucket of somebody else, and never makes it. Without credentials it must be public.
    pub async fn open_source(address: &str) -> Result<Self, StorageError> {
        let address = Address::parse_source(address)?;
        let credentials = credentials();
        let has_any = credentials.provide_credentials().await.is_ok();
        Self::connect(address, |config| match has_any {
            true => config.credentials_provider(credentials),
            false => config.allow_no_auth(),
        })
    }

    /// The client for a bucket. `sign` adds how requests are signed.
    fn connect(
        address: Address,
        sign: impl FnOnce(aws_sdk_s3::config::Builder) -> aws_sdk_s3::config::Builder,
    ) -> Result<Self, StorageError> {
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
            .timeout_config(times.build())
            .retry_config(retries)
            // Not all servers know the checksums in trailers that the SDK would send. Every
            // body is signed with its SHA-256 anyway.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        config = sign(config);
        if let Some(file) = &address.authorities {
            config = config.http_client(trust::http_client(file)?);
        }
        let mut server = format!("S3 in {}", address.region);
        if let Some(endpoint) = &address.endpoint {
            server = endpoint.as_str().trim_end_matches('/').to_owned();
            // Other servers rarely have a domain name BUCKET.HOST for each bucket.
            config = config.endpoint_url(&server).force_path_style(true);
        }
        let mut prefix = address.prefix;
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        let host = address.endpoint.as_ref().and_then(|endpoint| {
            let host = endpoint.host_str()?.to_owned();
            Some((host, endpoint.port_or_known_default()?))
        });
        Ok(Self {
            client: Client::from_conf(config.build()),
            name: address.bucket,
            prefix,
            server,
            host,
            region: address.region,
        })
    }

    async fn make_bucket_if_missing(&self, is_amazons: bool) -> Result<(), StorageError> {
        let there = self.head().await;
        if !there.as_ref().is_err_and(StorageError::is_not_found) {
            return there;
        }
        let mut request = self.client.create_bucket().bucket(&self.name);
        if is_amazons && self.region != DEFAULT_REGION {
            let location = CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(self.region.as_str()));
            request = request.create_bucket_configuration(location.build());
        }
        let made = async {
            match request.send().await {
                // Another process made it in the meantime.
                Err(error) if is_there_already(error.code()) => Ok(()),
                made => made.map(drop),
            }
        };
        match self.traced("S3/CreateBucket", None, made).await {
            Err(problem) if problem.kind() == StorageErrorKind::Misconfigured => {
                Err(problem.context(no_bucket(&self.name, &self.server)))
            }
            made => made,
        }
    }

    /// Writes a whole object.
    pub async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StorageError> {
        let request = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(self.name_of(key))
            .body(ByteStream::from(bytes));
        self.traced("S3/PutObject", Some(key), request.send())
            .await
            .map(drop)
    }

    /// The address at which a person finds the object.
    pub fn locate(&self, key: &ObjectKey) -> String {
        format!("s3://{}/{}", self.name, self.name_of(key))
    }

    /// Asks whether the bucket is there. The error is `NotFound` if it is not.
    pub async fn head(&self) -> Result<(), StorageError> {
        let request = self.client.head_bucket().bucket(&self.name);
        self.traced("S3/HeadBucket", None, request.send())
            .await
            .map(drop)
    }

    /// The name of an object in the bucket.
    pub fn name_of(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The inverse of [`Bucket::name_of`]. `None` for a name that is no key: another
    /// program put the object there.
    pub fn key_of(&self, name: &str) -> Option<ObjectKey> {
        name.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// Runs one operation in a client span after OpenTelemetry's conventions for AWS SDKs.
    /// `method` is `S3/` and the operation's name in the API.
    pub async fn traced<T, E>(
        &self,
        method: &'static str,
        key: Option<&ObjectKey>,
        work: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, StorageError>
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let name = key.map(|key| self.name_of(key));
        self.traced_name(method, name, work).await
    }

    /// Like [`Bucket::traced`], for an object with any name.
    pub async fn traced_name<T, E>(
        &self,
        method: &'static str,
        name: Option<String>,
        work: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, StorageError>
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        // Outside of a trace, as in a probe, there is no span.
        let span = match Span::current().is_none() {
            true => Span::none(),
            false => self.span(method, name.as_deref()),
        };
        let outcome = work.instrument(span.clone()).await;
        outcome.map_err(|error| {
            let uri = match name {
                Some(name) => format!("s3://{}/{name}", self.name),
                None => format!("s3://{}", self.name),
            };
            let about = Subject {
                uri: &uri,
                bucket: &self.name,
                server: &self.server,
            };
            let error = explain(error, about);
            // That there is no such object is a normal answer.
            if !error.is_not_found() {
                span.record(OTEL_STATUS_CODE, "ERROR");
                span.record(OTEL_STATUS_DESCRIPTION, format!("{error:#}"));
            }
            span.record(trace::ERROR_TYPE, error.kind().as_str());
            error
        })
    }

    fn span(&self, method: &'static str, name: Option<&str>) -> Span {
        let host = self.host.as_ref();
        info_span!(
            OBJECTS,
            { OTEL_NAME } = method,
            otel.kind = "client",
            { OTEL_STATUS_CODE } = field::Empty,
            { OTEL_STATUS_DESCRIPTION } = field::Empty,
            { trace::RPC_SYSTEM_NAME } = "aws-api",
            { trace::RPC_METHOD } = method,
            { trace::AWS_S3_BUCKET } = self.name,
            { trace::AWS_S3_KEY } = name,
            { trace::CLOUD_REGION } = self.region,
            { trace::SERVER_ADDRESS } = host.map(|(host, _)| host.as_str()),
            // An unsigned number would be exported as text.
            { trace::SERVER_PORT } = host.map(|(_, port)| i64::from(*port)),
            { trace::ERROR_TYPE } = field::Empty,
        )
    }
}

/// The credentials of the environment, or else of AWS's file.
fn credentials() -> CredentialsProviderChain {
    let variables = EnvironmentVariableCredentialsProvider::new();
    let file = ProfileFileCredentialsProvider::builder().build();
    CredentialsProviderChain::first_try("Environment", variables).or_else("Profile", file)
}

fn is_there_already(code: Option<&str>) -> bool {
    matches!(
        code,
        Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists")
    )
}
