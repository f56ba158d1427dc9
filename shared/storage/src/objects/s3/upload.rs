//! An object that is sent in parts.

use async_trait::async_trait;
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use maskline_messages::ObjectKey;

use super::bucket::Bucket;
use crate::{error::StorageError, objects::store::Upload};

/// The bytes of each part but the last. S3 takes no smaller ones.
const PART: usize = 5 << 20;

/// An upload in parts. An object that fits into one part is put as any other. A process that
/// is killed leaves its parts on the server, where a rule of the bucket
/// (`AbortIncompleteMultipartUpload`) can remove them.
pub(super) struct Multipart<'a> {
    bucket: &'a Bucket,
    key: ObjectKey,
    /// The bytes that are in no part yet: less than a part.
    waiting: Vec<u8>,
    /// The id that the server gives the upload with its first part.
    id: Option<String>,
    parts: Vec<CompletedPart>,
}

impl<'a> Multipart<'a> {
    pub fn new(bucket: &'a Bucket, key: &ObjectKey) -> Self {
        Self {
            bucket,
            key: key.clone(),
            waiting: vec![],
            id: None,
            parts: vec![],
        }
    }

    async fn begin(&mut self) -> Result<String, StorageError> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let request = self
            .bucket
            .client
            .create_multipart_upload()
            .bucket(&self.bucket.name)
            .key(self.bucket.name_of(&self.key));
        let begun = self
            .bucket
            .traced("S3/CreateMultipartUpload", Some(&self.key), request.send())
            .await?;
        let id = begun.upload_id.ok_or_else(|| {
            let uri = self.bucket.locate(&self.key);
            StorageError::internal(format!(
                "{} begins an upload of {uri} without an id",
                self.bucket.server
            ))
        })?;
        Ok(self.id.insert(id).clone())
    }

    async fn put_part(&mut self, part: Bytes) -> Result<(), StorageError> {
        let id = self.begin().await?;
        let number = self.parts.len() as i32 + 1;
        let request = self
            .bucket
            .client
            .upload_part()
            .bucket(&self.bucket.name)
            .key(self.bucket.name_of(&self.key))
            .upload_id(id)
            .part_number(number)
            .body(ByteStream::from(part));
        let put = self
            .bucket
            .traced("S3/UploadPart", Some(&self.key), request.send())
            .await?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(put.e_tag);
        self.parts.push(part.build());
        Ok(())
    }
}

#[async_trait]
impl Upload for Multipart<'_> {
    async fn write(&mut self, mut piece: Bytes) -> Result<(), StorageError> {
        while !piece.is_empty() {
            let room = PART - self.waiting.len();
            self.waiting.reserve_exact(room);
            let fitting = piece.split_to(piece.len().min(room));
            self.waiting.extend_from_slice(&fitting);
            if self.waiting.len() == PART {
                let part = std::mem::take(&mut self.waiting);
                self.put_part(part.into()).await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StorageError> {
        let rest = Bytes::from(std::mem::take(&mut self.waiting));
        if self.id.is_none() {
            return self.bucket.put(&self.key, rest).await;
        }
        if !rest.is_empty() {
            self.put_part(rest).await?;
        }
        let parts =
            CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.parts)));
        let request = self
            .bucket
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket.name)
            .key(self.bucket.name_of(&self.key))
            .set_upload_id(self.id.clone())
            .multipart_upload(parts.build());
        self.bucket
            .traced(
                "S3/CompleteMultipartUpload",
                Some(&self.key),
                request.send(),
            )
            .await?;
        self.id = None;
        Ok(())
    }
}

/// Asks the server to remove the parts of an upload that was not finished.
impl Drop for Multipart<'_> {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let request = self
            .bucket
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket.name)
            .key(self.bucket.name_of(&self.key))
            .upload_id(id);
        let key = self.key.clone();
        runtime.spawn(async move {
            if let Err(error) = request.send().await {
                tracing::debug!(%key, %error, "the parts of an upload stay with the server");
            }
        });
    }
}
