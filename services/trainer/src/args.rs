//! The service's flags, and the service made of them.

use std::sync::Arc;

use maskline_models::device::{self, Choice};
use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::{StorageArgs, catalog_answers, lease::LeaseWatch, objects_answer};
use tokio::sync::Notify;

use crate::{requests::Requests, worker::Trainer};

const MEMORY_GIB: f64 = 4.0;

/// Trains networks on frozen datasets and publishes them with a report.
///
/// Takes DatasetReady and TrainingRequested, gives ModelTrained. Each trainer
/// works on one run at a time; more of them share the runs.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "maskline-trainer",
    version,
    after_help = "Example:\n  maskline-trainer --broker amqp://guest:guest@localhost/ --objects s3://maskline \\\n    --catalog mongodb://localhost/maskline --device gpu"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
    #[command(flatten)]
    pub trainer: TrainerArgs,
}

/// What networks are trained with.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct TrainerArgs {
    /// Where to train: auto (a GPU if there is one), gpu or cpu
    #[arg(long, env = "MASKLINE_DEVICE", value_name = "DEVICE", default_value_t = Choice::Auto)]
    pub device: Choice,
    /// Memory for decoded images, in GiB; those beyond it are decoded in every
    /// epoch, from a temporary file
    #[arg(long, env = "MASKLINE_IMAGE_MEMORY", value_name = "GIB", default_value_t = MEMORY_GIB)]
    pub image_memory: f64,
}

impl Default for TrainerArgs {
    fn default() -> Self {
        Self {
            device: Choice::Auto,
            image_memory: MEMORY_GIB,
        }
    }
}

impl TrainerArgs {
    fn image_bytes(&self) -> u64 {
        // A float beyond the integers, or no number, becomes the nearest integer.
        (self.image_memory * f64::from(1 << 30)) as u64
    }
}

/// The service, connected to its objects and its catalog, with a device to
/// compute on.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let stores = args.storage.open(&args.runtime.connection.data).await?;
    let choice = args.trainer.device;
    let compute = tokio::task::spawn_blocking(move || device::choose(choice)).await??;
    tracing::info!(device = compute.name, "training on");
    let wake = Arc::new(Notify::new());
    let requests = Requests {
        library: stores.catalog.clone(),
        leases: stores.catalog.clone(),
        wake: wake.clone(),
    };
    let trainer = Trainer::new(
        stores.clone(),
        LeaseWatch::new(stores.catalog.clone()),
        wake,
        compute,
        args.trainer.image_bytes(),
    );
    Ok(Service::new(requests)
        .worker(trainer)
        .probe("objects", objects_answer(&stores.objects))
        .probe("catalog", catalog_answers(&stores.catalog)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_flags_defaults_are_the_codes() {
        let args = Args::try_parse_from(["trainer"]).unwrap();
        assert_eq!(
            format!("{:?}", args.trainer),
            format!("{:?}", TrainerArgs::default())
        );
        assert_eq!(args.trainer.image_bytes(), 4 << 30);
    }

    #[test]
    fn a_device_of_no_kind_is_refused() {
        assert!(Args::try_parse_from(["trainer", "--device", "abacus"]).is_err());
    }
}
