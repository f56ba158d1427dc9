//! Which object store an address names.

use std::{path::Path, sync::Arc};

use super::{folder::Folder, s3::S3, store::ObjectStore};
use crate::error::StorageError;

/// Opens the object store at an address:
///
/// * `file:FOLDER` for a folder that all processes share;
/// * `s3://bucket/prefix` for S3. The credentials come from AWS's environment variables or
///   its shared credentials file, region and endpoint from its environment variables.
///   `?endpoint=URL` names another server, and `&region=NAME` its region. The bucket is made
///   if it is missing.
///
/// Fails with [`Unavailable`](crate::StorageErrorKind::Unavailable) within seconds if nothing
/// answers, and with [`Misconfigured`](crate::StorageErrorKind::Misconfigured) for an address
/// or credentials that can't be used.
pub async fn open(url: &str) -> Result<Arc<dyn ObjectStore>, StorageError> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "file" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() {
                let problem = "no folder is named: write file:FOLDER, such as file:data/objects";
                return Err(StorageError::misconfigured(problem.to_owned()));
            }
            Ok(Arc::new(Folder::open(Path::new(path)).await?))
        }
        // Boxed, because the SDK's futures are nested so deeply that callers could reach
        // the compiler's limit.
        "s3" => Ok(Arc::new(Box::pin(S3::open(url)).await?)),
        _ => Err(StorageError::misconfigured(
            "the address names no object store: write file:FOLDER or s3://BUCKET/PREFIX".to_owned(),
        )),
    }
}
