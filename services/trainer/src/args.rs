//! The service's flags, and the service that is made of them.

use std::sync::Arc;

use maskline_models::device::{self, Choice};
use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::{StorageArgs, catalog_answers, lease::LeaseWatch, objects_answer};
use tokio::sync::Notify;

use crate::{NAME, resources::Resources, stage::RequestHandler, worker::Trainer};

/// The default of `--image-memory`.
const MEMORY_GIB: f64 = 4.0;

/// Trains networks on frozen datasets and publishes them with a report.
///
/// Takes DatasetReady, TrainingRequested and TuningRequested, sends ModelTrained. Each trainer works
/// on one run at a time. Several trainers share the runs, and the trials of a study.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "maskline-trainer",
    version,
    after_help = "Example:\n  maskline-trainer --broker amqp://localhost --objects s3://maskline \\\n    --catalog mongodb://localhost/maskline --device gpu"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
    #[command(flatten)]
    pub trainer: TrainerArgs,
}

/// The device and the memory that training uses.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct TrainerArgs {
    /// The device to train on: auto (a GPU if there is one), gpu (the one that the drivers
    /// recommend), gpu:N (that of the number N, counted from 0) or cpu
    #[arg(long, env = "MASKLINE_DEVICE", value_name = "DEVICE", default_value_t = Choice::Auto)]
    pub device: Choice,
    /// Memory for decoded images, in GiB. Images beyond it are read from a temporary file and
    /// decoded in every epoch
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
        // The cast gives the nearest integer for a float that is too large, and 0 for NaN.
        (self.image_memory * f64::from(1 << 30)) as u64
    }
}

/// The service, connected to its objects and its catalog, with a device to
/// compute on.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let stores = args.storage.open(&args.runtime.connection.data).await?;
    let choice = args.trainer.device;
    device::keep_kernels_in(&args.runtime.connection.data.join(device::KERNELS));
    let compute = tokio::task::spawn_blocking(move || device::choose(choice)).await??;
    tracing::info!(device = compute.name, "networks are trained on this device");
    let notify = Arc::new(Notify::new());
    let requests = RequestHandler {
        library: stores.catalog.clone(),
        studies: stores.catalog.clone(),
        leases: stores.catalog.clone(),
        notify: notify.clone(),
    };
    let resources = Resources {
        objects: stores.objects.clone(),
        library: stores.catalog.clone(),
        studies: stores.catalog.clone(),
        jobs: stores.catalog.clone(),
        leases: stores.catalog.clone(),
        compute,
        image_memory: args.trainer.image_bytes(),
    };
    let watch = LeaseWatch::new(stores.catalog.clone());
    let trainer = Trainer::new(resources, watch, notify);
    Ok(Service::new(NAME)
        .handler(requests)
        .worker(trainer)
        .probe("objects", objects_answer(&stores.objects))
        .probe("catalog", catalog_answers(&stores.catalog)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_flags_have_the_defaults_of_the_struct() {
        let args = Args::try_parse_from(["trainer"]).unwrap();
        assert_eq!(
            format!("{:?}", args.trainer),
            format!("{:?}", TrainerArgs::default())
        );
        assert_eq!(args.trainer.image_bytes(), 4 << 30);
    }

    #[test]
    fn an_unknown_device_is_refused() {
        assert!(Args::try_parse_from(["trainer", "--device", "abacus"]).is_err());
    }
}
