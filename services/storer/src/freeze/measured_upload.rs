//! An upload whose bytes are counted and hashed.

use bytes::Bytes;
use maskline_storage::{StorageError, Upload};
use sha2::{Digest, Sha256};

/// An object that is being written.
pub(super) struct MeasuredUpload<'a> {
    upload: Box<dyn Upload + 'a>,
    bytes: u64,
    hash: Sha256,
}

/// What was written.
pub(super) struct ObjectMeasure {
    /// The object's size.
    pub(super) bytes: u64,
    /// The SHA-256 in hexadecimal digits.
    pub(super) sha256: String,
}

impl<'a> MeasuredUpload<'a> {
    pub(super) fn new(upload: Box<dyn Upload + 'a>) -> Self {
        Self {
            upload,
            bytes: 0,
            hash: Sha256::new(),
        }
    }

    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), StorageError> {
        self.bytes += piece.len() as u64;
        self.hash.update(&piece);
        self.upload.write(piece).await
    }

    /// Finishes the object and measures it.
    pub(super) async fn finish(self) -> Result<ObjectMeasure, StorageError> {
        self.upload.finish().await?;
        Ok(ObjectMeasure {
            bytes: self.bytes,
            sha256: hex::encode(self.hash.finalize()),
        })
    }
}
