//! Objects in S3: Amazon's, versitygw's, or another server's that speaks it.

mod address;
mod bucket;
mod failure;
mod source;
mod trust;
mod upload;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::error::{ConnectorError, SdkError};
use bytes::Bytes;
use maskline_messages::ObjectKey;

use self::{bucket::Bucket, failure::no_bucket, upload::Multipart};
use super::store::{ObjectStore, Upload, is_prefix};
use crate::error::StorageError;

pub use source::{OpenObject, SourceBucket, SourceObject};

/// How long a probe waits.
const PING: Duration = Duration::from_secs(5);

/// The most keys that S3 gives in one page of a listing.
const PAGE: usize = 1_000;

/// A bucket as an object store.
pub(super) struct S3 {
    bucket: Bucket,
}

impl S3 {
    /// Opens the bucket at an address, see [`super::open()`].
    pub async fn open(address: &str) -> Result<Self, StorageError> {
        let bucket = Bucket::open(address).await?;
        Ok(Self { bucket })
    }
}

#[async_trait]
impl ObjectStore for S3 {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StorageError> {
        self.bucket.put(key, bytes).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload + '_>, StorageError> {
        Ok(Box::new(Multipart::new(&self.bucket, key)))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StorageError> {
        let request = self
            .bucket
            .client
            .get_object()
            .bucket(&self.bucket.name)
            .key(self.bucket.name_of(key));
        let reading = async {
            let object = request.send().await?;
            let body = object.body.collect().await;
            // The connection broke, or stood still for too long.
            let broken = |error| SdkError::dispatch_failure(ConnectorError::io(Box::new(error)));
            let body = body.map_err(broken)?;
            Ok(body.into_bytes())
        };
        self.bucket.traced("S3/GetObject", Some(key), reading).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StorageError> {
        let request = self
            .bucket
            .client
            .head_object()
            .bucket(&self.bucket.name)
            .key(self.bucket.name_of(key));
        match self
            .bucket
            .traced("S3/HeadObject", Some(key), request.send())
            .await
        {
            Ok(head) => {
                let length = head.content_length.and_then(|n| u64::try_from(n).ok());
                let unknown = || {
                    let (server, uri) = (&self.bucket.server, self.locate(key));
                    StorageError::internal(format!("{server} gives no size of {uri}"))
                };
                length.ok_or_else(unknown).map(Some)
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let request = self
            .bucket
            .client
            .delete_object()
            .bucket(&self.bucket.name)
            .key(self.bucket.name_of(key));
        match self
            .bucket
            .traced("S3/DeleteObject", Some(key), request.send())
            .await
        {
            Err(error) if error.is_not_found() => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectKey>, StorageError> {
        if !is_prefix(prefix) {
            return Ok(vec![]);
        }
        let mut below = format!("{}{}", self.bucket.prefix, prefix.trim_matches('/'));
        if !below.is_empty() && !below.ends_with('/') {
            below.push('/');
        }
        let mut keys = vec![];
        let mut next = None;
        while keys.len() < limit {
            let wanted = (limit - keys.len()).min(PAGE) as i32;
            let request = self
                .bucket
                .client
                .list_objects_v2()
                .bucket(&self.bucket.name)
                .prefix(&below)
                .set_start_after(after.map(|key| self.bucket.name_of(key)))
                .set_continuation_token(next.take())
                .max_keys(wanted);
            let page = self
                .bucket
                .traced("S3/ListObjectsV2", None, request.send())
                .await?;
            let names = page.contents().iter().filter_map(|object| object.key());
            keys.extend(names.filter_map(|name| self.bucket.key_of(name)));
            next = page.next_continuation_token;
            if next.is_none() {
                break;
            }
        }
        Ok(keys)
    }

    async fn ping(&self) -> Result<(), StorageError> {
        match tokio::time::timeout(PING, self.bucket.head()).await {
            Ok(Err(missing)) if missing.is_not_found() => {
                let missing = no_bucket(&self.bucket.name, &self.bucket.server);
                Err(StorageError::misconfigured(missing))
            }
            Ok(answer) => answer,
            Err(_) => Err(StorageError::unavailable(format!(
                "{} does not answer within {} s",
                self.bucket.server,
                PING.as_secs()
            ))),
        }
    }

    fn locate(&self, key: &ObjectKey) -> String {
        self.bucket.locate(key)
    }
}
