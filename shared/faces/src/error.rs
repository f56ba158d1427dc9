//! Why the detector's weights can't be used.

use thiserror::Error;

/// Why the detector's weights can't be used.
#[derive(Debug, Error)]
pub enum FaceError {
    /// The bytes are not the published weights.
    #[error(
        "the weights of the face detector are damaged: their SHA-256 is {found}, not {expected}; \
         take shared/faces/data/blazeface_short_range.safetensors from the repository again, or \
         make it with the script beside it"
    )]
    Damaged {
        expected: &'static str,
        found: String,
    },
    #[error("the weights of the face detector are no safetensors file: {0}")]
    Unreadable(#[from] safetensors::SafeTensorError),
    #[error(
        "the weights of the face detector have no tensor {name:?} of 16-bit floats as {expected:?}"
    )]
    Tensor { name: String, expected: Vec<usize> },
}
