//! A bucket of somebody else, from which objects are read and to which nothing is written.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ConnectorError, SdkError},
    operation::get_object::{GetObjectError, GetObjectOutput},
    primitives::ByteStream,
};
use bytes::{Bytes, BytesMut};

use super::bucket::Bucket;
use crate::error::StorageError;

/// The objects of a bucket whose names begin with a prefix.
pub struct SourceBucket {
    bucket: Bucket,
    /// The prefix as it was written: `a/b` is that of `a/b.jpg`, too.
    prefix: String,
    /// The bucket's address, without the prefix.
    address: String,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceObject {
    /// Its name in the bucket.
    pub key: String,
    /// How many bytes it has.
    pub size: u64,
}

/// An object whose bytes are still to be read.
pub struct OpenObject<'a> {
    bucket: &'a Bucket,
    key: String,
    size: u64,
    etag: Option<String>,
    body: ByteStream,
}

impl SourceBucket {
    /// Opens the bucket at `s3://BUCKET/PREFIX[?endpoint=URL&region=NAME]`. Nothing is asked of
    /// its server yet. Credentials, region and endpoint come from where
    /// [`open`](crate::objects::open) has them from; without credentials the bucket must be
    /// public.
    pub async fn open(address: &str) -> Result<Self, StorageError> {
        // Boxed, because the SDK's futures are nested deeply.
        let bucket = Box::pin(Bucket::open_source(address)).await?;
        let (place, options) = match address.split_once('?') {
            Some((place, options)) => (place, format!("?{options}")),
            None => (address, String::new()),
        };
        let below = place.strip_prefix("s3://").unwrap_or_default();
        let prefix = below.split_once('/').map(|(_, prefix)| prefix);
        Ok(Self {
            address: format!("s3://{}{options}", bucket.name),
            prefix: prefix.unwrap_or_default().to_owned(),
            bucket,
        })
    }

    /// The bucket's address without the prefix, at which its objects can be opened again.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The prefix of all names.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Lists the objects in the order of their names, beginning after the name `after`. There are
    /// fewer than `limit` only at the end.
    pub async fn list(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SourceObject>, StorageError> {
        let mut objects = vec![];
        let mut next = None;
        while objects.len() < limit {
            let wanted = (limit - objects.len()).min(super::PAGE) as i32;
            let request = self
                .bucket
                .client
                .list_objects_v2()
                .bucket(&self.bucket.name)
                .prefix(&self.prefix)
                .set_start_after(after.map(str::to_owned))
                .set_continuation_token(next.take())
                .max_keys(wanted);
            let page = self
                .bucket
                .traced("S3/ListObjectsV2", None, request.send())
                .await?;
            let found = page.contents().iter().filter_map(|object| {
                Some(SourceObject {
                    key: object.key()?.to_owned(),
                    size: u64::try_from(object.size().unwrap_or_default()).ok()?,
                })
            });
            // A server that does not know `start-after` must not make this endless.
            objects.extend(found.filter(|object| after.is_none_or(|after| *object.key > *after)));
            next = page.next_continuation_token;
            if next.is_none() {
                break;
            }
        }
        Ok(objects)
    }

    /// Begins to read an object. `None` means that it still has the ETag `before`. Fails with
    /// [`NotFound`](crate::StorageErrorKind::NotFound) if it is not there.
    pub async fn open_object(
        &self,
        key: &str,
        before: Option<&str>,
    ) -> Result<Option<OpenObject<'_>>, StorageError> {
        let request = self
            .bucket
            .client
            .get_object()
            .bucket(&self.bucket.name)
            .key(key)
            .set_if_none_match(before.map(str::to_owned));
        let sending = async {
            match request.send().await {
                Err(error) if has_not_changed(&error) => Ok(None),
                sent => sent.map(Some),
            }
        };
        let name = Some(key.to_owned());
        let sent = self.bucket.traced_name("S3/GetObject", name, sending);
        // A server may not know the condition.
        let is_another = |object: &GetObjectOutput| before.is_none() || object.e_tag() != before;
        let Some(object) = sent.await?.filter(is_another) else {
            return Ok(None);
        };
        let size = object.content_length.and_then(|n| u64::try_from(n).ok());
        let unknown = || {
            let server = &self.bucket.server;
            StorageError::internal(format!("{server} gives no size of {key}"))
        };
        Ok(Some(OpenObject {
            bucket: &self.bucket,
            key: key.to_owned(),
            size: size.ok_or_else(unknown)?,
            etag: object.e_tag,
            body: object.body,
        }))
    }
}

impl OpenObject<'_> {
    /// How many bytes the object has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The ETag by which the server knows this content, if it gives one.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Reads all of its bytes.
    pub async fn read(mut self) -> Result<Bytes, StorageError> {
        let mut bytes = BytesMut::with_capacity(self.size as usize);
        let reading = async {
            while let Some(piece) = self.body.next().await {
                // The connection broke, or stood still for too long.
                let piece = piece.map_err(|error| broken(Box::new(error)))?;
                if (bytes.len() + piece.len()) as u64 > self.size {
                    let problem = std::io::Error::other("more bytes than its size");
                    return Err(broken(Box::new(problem)));
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes.freeze())
        };
        let name = Some(self.key.clone());
        self.bucket.traced_name("S3/GetObject", name, reading).await
    }
}

/// The server's answer that an object still has the ETag that it was asked about.
fn has_not_changed(error: &SdkError<GetObjectError, HttpResponse>) -> bool {
    let answer = error.raw_response();
    answer.is_some_and(|answer| answer.status().as_u16() == 304)
}

/// A failure of the connection while an object is read.
fn broken(
    error: Box<dyn std::error::Error + Send + Sync>,
) -> SdkError<GetObjectError, HttpResponse> {
    SdkError::dispatch_failure(ConnectorError::io(error))
}
