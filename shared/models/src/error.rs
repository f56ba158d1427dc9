//! Why weights or a device cannot be used.

use std::error::Error;

use maskline_messages::NetworkName;
use thiserror::Error;

/// Why weights or a device cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The bytes are not a safetensors file.
    #[error("not a safetensors file: {0}")]
    Unreadable(#[from] safetensors::SafeTensorError),
    /// The metadata of the file does not describe a network.
    #[error("the file doesn't say what network it is: it was not written by maskline")]
    NoCard,
    #[error("the file's description of its network is unusable: {0}")]
    BadCard(serde_json::Error),
    /// The weights are those of another network.
    #[error("the file has no tensor {name:?}, which {network} needs")]
    Missing { network: NetworkName, name: String },
    #[error("the tensor {name:?} is {found:?}, {network} needs {expected:?}")]
    Shape {
        network: NetworkName,
        name: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    #[error("the tensor {name:?} is {found}: convert it to F32, F16 or BF16")]
    Type { name: String, found: String },
    #[error("{network} does not use {count} tensors of the file, such as {name:?}")]
    LeftOver {
        network: NetworkName,
        count: usize,
        name: String,
    },
    /// The card has more or fewer classes than the weights.
    #[error("a network of {network} classes can't be labelled with {card} names")]
    Classes { network: usize, card: usize },
    #[error("{0:?} is no device: auto, gpu or cpu")]
    UnknownDevice(String),
    #[error("the device can't give the network's output: {0}")]
    Output(#[source] Box<dyn Error + Send + Sync>),
    /// A GPU was asked for and there is none.
    #[error("no GPU to compute on: {0}; use the device `cpu`, or `auto` to take what there is")]
    NoGpu(String),
}
