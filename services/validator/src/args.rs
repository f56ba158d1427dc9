//! The service's flags, and the service made of them.

use clap::Parser;
use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::StorageArgs;

use crate::{limits::LimitArgs, stage::Validator};

/// Decodes images, rejects what is not fit to learn from, and normalizes the rest.
///
/// Takes ImageFetched, gives ImageValidated and ImageRejected.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "maskline-validator",
    version,
    after_help = "Example:\n  maskline-validator --broker amqp://guest:guest@localhost/ --objects s3://maskline \\\n    --catalog mongodb://localhost/maskline --min-side 64"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// The service, connected to its objects and its catalog.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let stores = args.storage.open(&args.runtime.at.data).await?;
    let validator = Validator::new(stores.objects.clone(), args.limits.clone());
    Ok(stores.probed(Service::new(validator)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_default_to_the_limits_that_were_measured() {
        let args = Args::try_parse_from(["maskline-validator"]).unwrap();
        assert_eq!(args.limits, LimitArgs::DEFAULT);
    }
}
