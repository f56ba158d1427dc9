//! The checks of the stores behind a service's `/readyz`.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{catalog::Catalog, error::StorageError, objects::ObjectStore};

/// A check for a readiness probe: each call asks the object store whether it answers.
pub fn objects_answer<E: From<StorageError>>(
    objects: &Arc<dyn ObjectStore>,
) -> impl Fn() -> BoxFuture<'static, Result<(), E>> + Send + Sync + use<E> {
    let objects = objects.clone();
    move || {
        let objects = objects.clone();
        Box::pin(async move { Ok(objects.ping().await?) })
    }
}

/// A check for a readiness probe: each call asks the catalog whether it answers.
pub fn catalog_answers<E: From<StorageError>>(
    catalog: &Arc<dyn Catalog>,
) -> impl Fn() -> BoxFuture<'static, Result<(), E>> + Send + Sync + use<E> {
    let catalog = catalog.clone();
    move || {
        let catalog = catalog.clone();
        Box::pin(async move { Ok(catalog.ping().await?) })
    }
}
