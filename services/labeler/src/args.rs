//! The service's flags, and the service that is made of them.

use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::StorageArgs;

use crate::{NAME, opinion::Adviser, stage::Labeler};

/// Gives each validated image the label that its source says, and rejects copies.
///
/// Takes ImageValidated, sends ImageLabeled and ImageRejected.
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
    #[command(flatten)]
    pub opinion: OpinionArgs,
}

/// The flags about published models.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Labelling")]
pub struct OpinionArgs {
    /// Do not ask the newest published model for its prediction of each image
    #[arg(long, env = "MASKLINE_NO_OPINION")]
    pub no_opinion: bool,
}

/// The service, connected to its objects and its catalog.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let stores = args.storage.open(&args.runtime.at.data).await?;
    let adviser = (!args.opinion.no_opinion)
        .then(|| Adviser::new(stores.objects.clone(), stores.catalog.clone()));
    let labeler = Labeler::new(stores.catalog.clone(), adviser);
    Ok(stores.probed(Service::new(NAME).handler(labeler)))
}
