//! A response whose body is still to be read.

use std::{
    io::{self, BufReader, Read, Seek, Write},
    time::Instant,
};

use anyhow::anyhow;
use bytes::Bytes;
use maskline_foundation::{ByteBudget, text::shortened, time::unix_millis};
use maskline_messages::{Fetched, ImageId, Reason};
use reqwest::{
    Response,
    header::{CONTENT_TYPE, ETAG, LAST_MODIFIED},
};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tracing::{Instrument, Span};
use url::Url;

use super::{
    content_encoding::{self, ContentEncoding},
    failure,
};
use crate::fetch::{body::Body, error::FetchError, hosts::Visit, limits::INITIAL_ROOM, pace::Pace};

/// The longest `ETag` and `Last-Modified` that are kept, in bytes.
const MAX_VALIDATOR: usize = 256;

/// A response with its headers. Its host counts as busy until the response is dropped.
pub(crate) struct WebResponse {
    inner: Response,
    /// The span of the request, which ends with the body.
    span: Span,
    visit: Visit,
    /// A whole body shows that the server does what it is for.
    is_proof: bool,
    pace: Pace,
}

impl WebResponse {
    /// `min_rate` is in bytes per second.
    pub(super) fn new(
        inner: Response,
        span: Span,
        visit: Visit,
        is_proof: bool,
        min_rate: u64,
    ) -> Self {
        Self {
            inner,
            span,
            visit,
            is_proof,
            pace: Pace::new(min_rate, Instant::now()),
        }
    }

    /// The status and the headers.
    pub(super) fn head(&self) -> &Response {
        &self.inner
    }

    /// The URL that answered. After redirects it is not the one that was asked for.
    pub(crate) fn url(&self) -> &Url {
        self.inner.url()
    }

    /// The media type that the server names, which need not be true.
    pub(crate) fn content_type(&self) -> Option<String> {
        let value = self.inner.headers().get(CONTENT_TYPE)?;
        Some(shortened(value.to_str().ok()?, 200))
    }

    /// When it was fetched, and what the server says by which it can be asked whether it has
    /// changed.
    pub(crate) fn fetched(&self) -> Fetched {
        let header = |name| {
            let value = self.inner.headers().get(name)?.to_str().ok()?;
            (value.len() <= MAX_VALIDATOR).then(|| value.to_owned())
        };
        Fetched {
            at: unix_millis(),
            etag: header(ETAG),
            last_modified: header(LAST_MODIFIED),
        }
    }

    /// Reads the whole body into memory, decoded where it was compressed. A body of more
    /// than `max` bytes, or of none, is rejected. It takes room in `budget` as its bytes arrive.
    pub(crate) async fn body(self, max: u64, budget: &ByteBudget) -> Result<Body, FetchError> {
        let visit = self.visit.clone();
        visit.giving_way(self.read_body(max, budget)).await
    }

    async fn read_body(mut self, max: u64, budget: &ByteBudget) -> Result<Body, FetchError> {
        let encoding = ContentEncoding::of(self.inner.headers())?;
        let announced = self.inner.content_length();
        if let Some(bytes) = announced.filter(|bytes| *bytes > max) {
            return Err(FetchError::too_many_bytes(bytes, max));
        }
        let begins_with = announced.unwrap_or(INITIAL_ROOM).min(INITIAL_ROOM);
        let waiting = Instant::now();
        let mut room = budget.room(begins_with).await;
        self.pace.paused(waiting.elapsed());
        let mut bytes = Vec::with_capacity(begins_with as usize);
        let mut digest = Sha256::new();
        while let Some(chunk) = self.chunk().await? {
            let read = bytes.len() as u64 + chunk.len() as u64;
            if read > max {
                return Err(FetchError::too_many_bytes(read, max));
            }
            let waiting = Instant::now();
            self.visit.wait_for_room(room.grow_to(read)).await?;
            self.pace.paused(waiting.elapsed());
            digest.update(&chunk);
            bytes.extend_from_slice(&chunk);
        }
        let (bytes, image) = match encoding.is_none() || bytes.is_empty() {
            true => (
                Bytes::from(bytes),
                ImageId::from_digest(digest.finalize().into()),
            ),
            false => encoding.decode(bytes, max, &mut room).await?,
        };
        if bytes.is_empty() {
            return Err(Reason::Empty.into());
        }
        Ok(Body::new(bytes, image, room))
    }

    /// Reads the body's first bytes, at most `max`. What follows is not read.
    pub(super) async fn first_bytes(mut self, max: usize) -> Result<Vec<u8>, FetchError> {
        let encoding = ContentEncoding::of(self.inner.headers())?;
        let mut bytes = vec![];
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk[..chunk.len().min(max - bytes.len())]);
            if bytes.len() == max {
                break;
            }
        }
        match encoding.is_none() {
            true => Ok(bytes),
            false => encoding.decode_beginning(bytes, max).await,
        }
    }

    /// Writes the body to a temporary file. Returns that with its SHA-256 in hexadecimal digits. A
    /// body of more than `max` bytes is rejected.
    pub(crate) async fn into_file(
        mut self,
        max: u64,
    ) -> Result<(NamedTempFile, String), FetchError> {
        let encoding = ContentEncoding::of(self.inner.headers())?;
        let mut file = temporary_file().map_err(FetchError::retry)?;
        let (mut read, mut digest) = (0, Sha256::new());
        while let Some(chunk) = self.chunk().await? {
            read += chunk.len() as u64;
            if read > max {
                return Err(FetchError::too_many_bytes(read, max));
            }
            digest.update(&chunk);
            // This may block, but not for long: a few KiB go into the page cache.
            file.write_all(&chunk).map_err(FetchError::retry)?;
        }
        if encoding.is_none() || read == 0 {
            return Ok((file, hex::encode(digest.finalize())));
        }
        let decoding = tokio::task::spawn_blocking(move || decoded(file, &encoding, max));
        decoding.await.map_err(FetchError::retry)?
    }

    /// The next bytes, unless they come too slowly.
    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let reading = self.inner.chunk().instrument(self.span.clone());
            let ends = self.pace.ends().into();
            match tokio::time::timeout_at(ends, reading).await {
                Ok(Ok(Some(chunk))) => {
                    self.pace.received(chunk.len() as u64);
                    return Ok(Some(chunk));
                }
                Ok(Ok(None)) => {
                    if self.is_proof {
                        self.visit.succeeded();
                    }
                    return Ok(None);
                }
                Ok(Err(error)) => {
                    let error = failure::record(error, &self.span);
                    if let FetchError::Retry { error, .. } = &error {
                        self.visit.failed(&format!("{error:#}"), None);
                    }
                    return Err(error);
                }
                Err(_) if self.pace.is_too_slow(Instant::now()) => {
                    failure::record_too_slow(&self.span);
                    self.visit.failed(&self.pace.said(), None);
                    return Err(FetchError::retry(anyhow!(self.pace.said())));
                }
                Err(_) => {}
            }
        }
    }
}

fn temporary_file() -> io::Result<NamedTempFile> {
    NamedTempFile::with_prefix("maskline-source-")
}

/// The decoded content of an encoded file, with its SHA-256. This blocks the thread.
fn decoded(
    mut encoded: NamedTempFile,
    encoding: &ContentEncoding,
    max: u64,
) -> Result<(NamedTempFile, String), FetchError> {
    encoded.rewind().map_err(FetchError::retry)?;
    let mut file = temporary_file().map_err(FetchError::retry)?;
    let reader = encoding.reader(BufReader::new(encoded), max);
    let mut reader = reader.map_err(content_encoding::broken)?;
    let (mut read, mut digest, mut bytes) = (0, Sha256::new(), vec![0; 64 << 10]);
    loop {
        let some = reader.read(&mut bytes).map_err(content_encoding::broken)?;
        if some == 0 {
            return Ok((file, hex::encode(digest.finalize())));
        }
        read += some as u64;
        if read > max {
            return Err(FetchError::too_many_bytes(read, max));
        }
        digest.update(&bytes[..some]);
        file.write_all(&bytes[..some]).map_err(FetchError::retry)?;
    }
}
