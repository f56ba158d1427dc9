//! The service's flags, and the service that is made of them.

use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::{StorageArgs, catalog_answers, objects_answer};

use crate::{NAME, model_check::ModelCheck, stage::Labeler};

/// Gives each validated image the label that its source says, and rejects copies.
///
/// Takes ImageValidated, sends ImageLabeled and ImageRejected.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "maskline-labeler",
    version,
    after_help = "Example:\n  maskline-labeler --broker amqp://localhost --objects s3://maskline \\\n    --catalog mongodb://localhost/maskline"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
    #[command(flatten)]
    pub model_check: ModelCheckArgs,
}

/// The flags of the model check, which asks a published model about each image.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Labelling")]
pub struct ModelCheckArgs {
    /// Do not ask the newest published model for its prediction of each image
    #[arg(long, env = "MASKLINE_NO_OPINION", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_opinion: bool,
}

/// The service, connected to the catalog, and to the object store if models are asked.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let data = &args.runtime.connection.data;
    let catalog = args.storage.open_catalog(data).await?;
    let objects = match args.model_check.no_opinion {
        false => Some(args.storage.open_objects(data).await?),
        true => None,
    };
    let model_check = objects
        .clone()
        .map(|objects| ModelCheck::new(objects, catalog.clone()));
    let labeler = Labeler::new(catalog.clone(), catalog.clone(), model_check);
    let service = Service::new(NAME)
        .handler(labeler)
        .probe("catalog", catalog_answers(&catalog));
    Ok(match &objects {
        Some(objects) => service.probe("objects", objects_answer(objects)),
        None => service,
    })
}
