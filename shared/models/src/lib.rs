//! The networks: MobileNetV2, MobileNetV3-small, MnasNet-1.0 and EfficientNet-B0, with
//! the structure and the names that torchvision gives them, and EfficientNet-Lite0, with those of
//! TensorFlow.
//!
//! * [`Network`] is a stem, a row of inverted-residual blocks (`block.rs`), a head and a
//!   classifier. The networks differ only in a table (`table.rs`).
//! * [`ops`] are this crate's operations on the CPU, and one for a GPU, where the layers use Burn's.
//! * [`input`] turns pictures into the input of a network, and [`prediction`] its output
//!   into predictions, scores and the loss. [`calibration`] says how far their probabilities
//!   can be believed, and a [`temperature`] makes them come true.
//! * [`weights`] writes and reads safetensors files. `names.rs` knows the name of each layer
//!   in torchvision's state dict. [`weights_file`] reads the files that PyTorch saves.
//! * [`optimizer`] moves the weights of a network in training.
//! * [`Classifier`] predicts the classes of pictures with a trained network.
//! * [`device`] opens a GPU or the CPU.

mod block;
pub mod calibration;
mod classifier;
pub mod device;
mod error;
mod init;
pub mod input;
mod layer;
mod layers;
mod names;
mod network;
pub mod ops;
pub mod optimizer;
pub mod prediction;
mod table;
pub mod temperature;
pub mod weights;
pub mod weights_file;

pub use classifier::{Classifier, Input};
pub use error::{Mismatch, ModelError};
pub use layer::LayerRow;
pub use network::Network;
