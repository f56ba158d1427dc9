//! Finds the faces in a picture, with BlazeFace short range (Bazarevsky et al., 2019).
//!
//! The detector is small and quick, and it finds faces with masks: in 98 of 100 photographs of a
//! person with a mask and in 100 of 100 without. (SeetaFace, the crate `rustface`, finds 26 and 87.)
//! It is made for faces that are near, and misses those that are small in the picture.
//!
//! * [`FaceDetector`]: pictures in, faces out.
//! * [`network`]: the network, which `table` describes and `kernels` computes on the CPU.
//! * [`weights`]: the published weights. `data/README.md` says where they come from.
//! * `letterbox`: how a picture becomes the network's input.
//! * `candidates`, `suppression`: how its output becomes faces.

mod candidates;
mod detector;
mod error;
mod kernels;
mod letterbox;
pub mod network;
mod suppression;
mod table;
pub mod weights;

pub use detector::FaceDetector;
pub use error::FaceError;
