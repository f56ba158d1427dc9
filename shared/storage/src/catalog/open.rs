//! Which catalog an address names.

use std::{path::Path, sync::Arc};

use super::{mongodb::MongodbCatalog, roles::Catalog, sqlite::SqliteCatalog};
use crate::error::StorageError;

/// Opens the catalog at an address, and makes its tables and indexes if they are missing:
///
/// * `sqlite:PATH` for a file on this machine that its processes share, such as
///   `sqlite:maskline-data/catalog.db`;
/// * `mongodb://user:password@host/database` for MongoDB. The default database is
///   `maskline`.
///
/// Fails with [`Unavailable`](crate::StorageErrorKind::Unavailable) within seconds if
/// nothing answers, and with [`Misconfigured`](crate::StorageErrorKind::Misconfigured) for an
/// address that can't be used. No error repeats the password.
pub async fn open(url: &str) -> Result<Arc<dyn Catalog>, StorageError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            let problem = "no file is named: write sqlite:PATH, such as sqlite:data/catalog.db";
            return Err(StorageError::misconfigured(problem.to_owned()));
        }
        return Ok(Arc::new(SqliteCatalog::open(Path::new(path)).await?));
    }
    let scheme = url.split(':').next().unwrap_or_default();
    if matches!(scheme, "mongodb" | "mongodb+srv") {
        return Ok(Arc::new(MongodbCatalog::open(url).await?));
    }
    Err(StorageError::misconfigured(
        "the address names no catalog: write sqlite:PATH or mongodb://user:password@host/database"
            .to_owned(),
    ))
}
