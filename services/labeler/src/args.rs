//! The service's flags, and the service made of them.

use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::StorageArgs;

use crate::stage::Labeler;

/// Gives each validated image its class, as its source says.
///
/// Takes ImageValidated, gives ImageLabeled and ImageRejected.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "maskline-labeler",
    version,
    after_help = "Example:\n  maskline-labeler --broker amqp://guest:guest@localhost/ --objects s3://maskline \\\n    --catalog mongodb://localhost/maskline"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// The service, connected to its objects and its catalog.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let stores = args.storage.open(&args.runtime.at.data).await?;
    let labeler = Labeler::new(stores.catalog.clone());
    Ok(stores.probed(Service::new(labeler)))
}
