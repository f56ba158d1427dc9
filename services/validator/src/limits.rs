//! The limits that an image is checked against, as flags.

use serde::{Deserialize, Serialize};

/// The limits of an image. Brightness, contrast and sharpness are measured on the picture
/// at 256 pixels on its longest side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[command(next_help_heading = "Limits of an image")]
pub struct LimitArgs {
    /// Reject images whose shorter side has fewer pixels than this
    #[arg(long, env = "MASKLINE_MIN_SIDE", value_name = "PIXELS", default_value_t = Self::DEFAULT.min_side)]
    pub min_side: u32,
    /// Reject images of more pixels than this, in millions
    #[arg(long, env = "MASKLINE_MAX_MEGAPIXELS", value_name = "N", default_value_t = Self::DEFAULT.max_megapixels,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_megapixels: u32,
    /// Reject images whose longer side is more than this many times the shorter
    #[arg(long, env = "MASKLINE_MAX_ASPECT", value_name = "RATIO", default_value_t = Self::DEFAULT.max_aspect)]
    pub max_aspect: f32,
    /// Reject images as blank if the standard deviation of luma, 0 to 1, is below this
    #[arg(long, env = "MASKLINE_MIN_CONTRAST", value_name = "SHARE", default_value_t = Self::DEFAULT.min_contrast)]
    pub min_contrast: f32,
    /// Reject images as too dark if the mean of luma, 0 to 1, is below this
    #[arg(long, env = "MASKLINE_MIN_BRIGHTNESS", value_name = "SHARE", default_value_t = Self::DEFAULT.min_brightness)]
    pub min_brightness: f32,
    /// Reject images as too bright if the mean of luma, 0 to 1, is above this
    #[arg(long, env = "MASKLINE_MAX_BRIGHTNESS", value_name = "SHARE", default_value_t = Self::DEFAULT.max_brightness)]
    pub max_brightness: f32,
    /// Reject images as blurred if the variance of the Laplacian of luma, 0 to 255, is below this
    #[arg(long, env = "MASKLINE_MIN_SHARPNESS", value_name = "N", default_value_t = Self::DEFAULT.min_sharpness)]
    pub min_sharpness: f32,
}

impl LimitArgs {
    /// Limits between the measurements of 2,846 scraped photographs of faces and those of
    /// files that are known to be bad. Where the two overlap, the photographs pass.
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
