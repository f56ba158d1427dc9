//! The networks: MobileNetV2, MobileNetV3-small, MnasNet-1.0 and EfficientNet-B0,
//! after torchvision, and their weights in and out.
//!
//! They differ only in a table (`table.rs`): every one is a stem, a row of
//! inverted-residual blocks (`block.rs`), a head and a classifier (`network.rs`).
//! Layers compute with Burn's operations on a GPU, and with our own on the CPU
//! ([`ops`]). `names.rs` knows what torchvision calls each layer.

mod block;
mod classifier;
pub mod device;
mod error;
mod init;
pub mod input;
mod layers;
mod names;
mod network;
pub mod ops;
pub mod prediction;
mod table;
pub mod weights;

pub use classifier::{Classifier, Input};
pub use error::ModelError;
pub use network::{LayerRow, Network};
