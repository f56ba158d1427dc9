//! The service's flags, and the service made of them.

use clap::Parser;
use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::{StorageArgs, objects_answer};

use crate::stage::Validator;

/// Decodes images, rejects what is not fit to learn from, and normalizes the rest.
///
/// Takes ImageFetched, gives ImageValidated and ImageRejected.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "maskline-validator",
    version,
    mut_arg("catalog", |catalog| catalog.help("This service does not use the catalog").long_help(
        "This service does not use the catalog. It takes the address so that all services \
         can be started with the same flags",
    )),
    after_help = "Example:\n  maskline-validator --broker amqp://guest:guest@localhost/ --objects s3://maskline \\\n    --min-side 64"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// What an image may be at most and must be at least. Measures are taken at 256
/// pixels on the longest side.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(next_help_heading = "Limits of an image")]
pub struct LimitArgs {
    /// Least pixels on the shorter side
    #[arg(long, env = "MASKLINE_MIN_SIDE", value_name = "PIXELS", default_value_t = Self::DEFAULT.min_side)]
    pub min_side: u32,
    /// Most pixels, width times height, in millions
    #[arg(long, env = "MASKLINE_MAX_MEGAPIXELS", value_name = "N", default_value_t = Self::DEFAULT.max_megapixels,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_megapixels: u32,
    /// Most of the longer side over the shorter
    #[arg(long, env = "MASKLINE_MAX_ASPECT", value_name = "RATIO", default_value_t = Self::DEFAULT.max_aspect)]
    pub max_aspect: f32,
    /// Least standard deviation of luma, 0 to 1: less is a blank picture
    #[arg(long, env = "MASKLINE_MIN_CONTRAST", value_name = "SHARE", default_value_t = Self::DEFAULT.min_contrast)]
    pub min_contrast: f32,
    /// Least mean of luma, 0 to 1
    #[arg(long, env = "MASKLINE_MIN_BRIGHTNESS", value_name = "SHARE", default_value_t = Self::DEFAULT.min_brightness)]
    pub min_brightness: f32,
    /// Most mean of luma, 0 to 1
    #[arg(long, env = "MASKLINE_MAX_BRIGHTNESS", value_name = "SHARE", default_value_t = Self::DEFAULT.max_brightness)]
    pub max_brightness: f32,
    /// Least variance of the Laplacian of luma (0-255): less is blurred
    #[arg(long, env = "MASKLINE_MIN_SHARPNESS", value_name = "N", default_value_t = Self::DEFAULT.min_sharpness)]
    pub min_sharpness: f32,
}

impl LimitArgs {
    /// Between what 2,846 scraped photographs of faces measure and what files known
    /// to be bad do; where the two overlap, on the side of the photographs.
    pub const DEFAULT: Self = Self {
        min_side: 32,
        max_megapixels: 25,
        max_aspect: 4.0,
        min_contrast: 0.02,
        min_brightness: 0.06,
        max_brightness: 0.92,
        min_sharpness: 6.0,
    };
}

impl Default for LimitArgs {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The service, connected to the object store. It uses no catalog.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let objects = args.storage.open_objects(&args.runtime.at.data).await?;
    let validator = Validator::new(objects.clone(), args.limits.clone());
    Ok(Service::new(validator).probe("objects", objects_answer(&objects)))
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
