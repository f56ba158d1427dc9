//! The service's flags, and the service that is made of them.

use std::sync::Arc;

use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::{StorageArgs, Stores, catalog_answers, lease::LeaseWatch, objects_answer};
use tokio::sync::Notify;

use crate::{
    NAME,
    freeze::Freezer,
    stage::{ImageHandler, JobHandler},
};

/// Writes one document per image, records how each candidate ended and freezes a
/// collection when nothing of it is in flight.
///
/// Takes ImageLabeled, ImageRejected, ImageFailed, SourceExpanded, JobFailed and
/// ModelTrained, sends DatasetReady.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "maskline-storer",
    version,
    after_help = "Example:\n  maskline-storer --broker amqp://localhost --objects s3://maskline \\\n    --catalog mongodb://localhost/maskline"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// The service, connected to its objects and its catalog.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let stores = args.storage.open(&args.runtime.connection.data).await?;
    let (objects, catalog) = (stores.objects, stores.catalog);
    let progress = Arc::new(Notify::new());
    let images = ImageHandler {
        objects: objects.clone(),
        candidates: catalog.clone(),
        images: catalog.clone(),
        stores: Stores {
            objects: objects.clone(),
            catalog: catalog.clone(),
        },
        progress: progress.clone(),
    };
    let jobs = JobHandler {
        jobs: catalog.clone(),
        leases: catalog.clone(),
        progress: progress.clone(),
    };
    let freezer = Freezer {
        objects: objects.clone(),
        collections: catalog.clone(),
        jobs: catalog.clone(),
        candidates: catalog.clone(),
        images: catalog.clone(),
        removals: catalog.clone(),
        leases: LeaseWatch::new(catalog.clone()),
        progress,
    };
    Ok(Service::new(NAME)
        .handler(images)
        .handler(jobs)
        .worker(freezer)
        .probe("objects", objects_answer(&objects))
        .probe("catalog", catalog_answers(&catalog)))
}
