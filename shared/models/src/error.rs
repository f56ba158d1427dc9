//! What can go wrong with weights and devices.

use std::error::Error;

use maskline_messages::NetworkName;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum ModelError {
    /// The bytes are no safetensors file.
    #[error("not a safetensors file: {0}")]
    Unreadable(#[from] safetensors::SafeTensorError),
    /// The file's metadata doesn't say what the network is.
    #[error("the file doesn't say what network it is: it was not written by maskline")]
    NoCard,
    #[error("the file's description of its network is unusable: {0}")]
    BadCard(serde_json::Error),
    /// The weights are another network's.
    #[error("the file has no tensor {name:?}, which {network} needs")]
    Missing { network: NetworkName, name: String },
    #[error("the tensor {name:?} is {found:?}, {network} needs {expected:?}")]
    Shape {
        network: NetworkName,
        name: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    #[error("the tensor {name:?} is {found}: convert it to F32")]
    Type { name: String, found: String },
    #[error("{network} has no place for {count} tensors of the file, such as {name:?}")]
    LeftOver {
        network: NetworkName,
        count: usize,
        name: String,
    },
    /// The card's classes and the weights disagree.
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
