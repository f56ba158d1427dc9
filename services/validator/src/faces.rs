//! Whether the faces in pictures are looked for, as a flag.

use anyhow::{Context, Result};
use maskline_faces::FaceDetector;
use serde::{Deserialize, Serialize};

/// Whether the faces in pictures are looked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[command(next_help_heading = "Faces")]
pub struct FaceArgs {
    /// Do not look for the faces in pictures, which takes one to three milliseconds a picture.
    /// Whatever needs them then, such as training, looks for them itself
    #[arg(long, env = "MASKLINE_NO_FACES", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_faces: bool,
}

impl FaceArgs {
    /// The detector, or `None` if faces are not looked for.
    pub fn detector(&self) -> Result<Option<FaceDetector>> {
        if self.no_faces {
            return Ok(None);
        }
        let detector = FaceDetector::new();
        Ok(Some(detector.context("faces can't be looked for")?))
    }
}
