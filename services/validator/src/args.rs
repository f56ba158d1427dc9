//! The service's flags, and the service that is made of them.

use clap::Parser;
use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::{StorageArgs, objects_answer};

use crate::{
    NAME,
    faces::FaceArgs,
    limits::LimitArgs,
    sandboxed::{Answer, SandboxedValidator},
    stage::Validator,
};

/// Decodes images, rejects those that are not fit to learn from, normalizes the rest, and finds
/// the faces in them.
///
/// Takes ImageFetched, sends ImageValidated and ImageRejected.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "maskline-validator",
    version,
    mut_arg("catalog", |catalog| catalog.help("This service does not use the catalog").long_help(
        "This service does not use the catalog. It takes the address so that all services \
         can be started with the same flags",
    )),
    after_help = "Example:\n  maskline-validator --broker amqp://localhost --objects s3://maskline \\\n    --min-side 64"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub faces: FaceArgs,
}

/// The service, connected to the object store. It uses no catalog.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let objects = args
        .storage
        .open_objects(&args.runtime.connection.data)
        .await?;
    let validator = SandboxedValidator::new(&args.limits, &args.faces, Answer::WithPicture);
    validator.warm_up().await?;
    let validator = Validator::new(objects.clone(), validator);
    Ok(Service::new(NAME)
        .handler(validator)
        .probe("objects", objects_answer(&objects)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_default_to_the_limits_that_were_measured() {
        let args = Args::try_parse_from(["maskline-validator"]).unwrap();
        assert_eq!(args.limits, LimitArgs::DEFAULT);
        assert!(args.faces.detector().unwrap().is_some());
    }

    #[test]
    fn faces_are_not_looked_for_if_a_flag_says_so() {
        let args = Args::try_parse_from(["maskline-validator", "--no-faces"]).unwrap();
        assert!(args.faces.detector().unwrap().is_none());
    }
}
