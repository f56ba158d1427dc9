//! Why weights or a device cannot be used.

use std::{error::Error, fmt, path::PathBuf};

use maskline_messages::NetworkName;
use thiserror::Error;

/// Why weights or a device cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The bytes are not a safetensors file.
    #[error("not a safetensors file")]
    Unreadable(#[from] safetensors::SafeTensorError),
    /// The metadata of the file does not describe a network.
    #[error("the file doesn't say what network it is: it was not written by maskline")]
    NoCard,
    #[error("the file's description of its network is unusable: {0}")]
    BadCard(serde_json::Error),
    /// A file of weights can't be used.
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    /// The tensors are not those of the network.
    #[error("these are not the weights of {network}: {mismatch}{}", network_of(*fitting))]
    Mismatch {
        network: NetworkName,
        mismatch: Box<Mismatch>,
        /// The network that can begin from these weights, if `network` was to begin from them.
        fitting: Option<NetworkName>,
    },
    /// There are other numbers of values than the last layer has.
    #[error("the last layer of {network} has {expected} values, not {found}")]
    LastLayer {
        network: NetworkName,
        expected: usize,
        found: usize,
    },
    /// More blocks are to be frozen than there are.
    #[error("{blocks} blocks can't be frozen: {network} has {all}")]
    FrozenBlocks {
        network: NetworkName,
        blocks: usize,
        all: usize,
    },
    /// The card has more or fewer classes than the weights.
    #[error("a network of {network} classes can't be labelled with {card} names")]
    Classes { network: usize, card: usize },
    #[error("this is no state of an optimizer: {0}")]
    OptimizerState(&'static str),
    #[error("{0:?} is no device: auto, gpu, gpu:0, gpu:1 … or cpu")]
    UnknownDevice(String),
    /// The weights are so large that the output overflows.
    #[error("the network's output is not a number: its weights are unusable, train it again")]
    NotANumber,
    #[error("the device can't give the network's output: {0}")]
    Output(#[source] Box<dyn Error + Send + Sync>),
    /// The device has no memory for a tensor, or can't have one that large.
    #[error("the device has no memory for so many or so large pictures at a time: {0}")]
    DeviceMemory(#[source] Box<dyn Error + Send + Sync>),
    /// A GPU was asked for and there is none.
    #[error("no GPU to compute on: {0}; use the device `cpu`, or `auto` to take what there is")]
    NoGpu(String),
    /// A GPU was asked for by its number, and there are fewer. `names` has those that there are.
    #[error(
        "gpu:{index}: {}; use the device `cpu`, or `auto` to take what there is",
        gpus(names)
    )]
    NoSuchGpu { index: usize, names: Vec<String> },
}

/// Says which network has weights that are those of another one.
fn network_of(fitting: Option<NetworkName>) -> String {
    fitting.map_or_else(String::new, |network| {
        format!(". They are those of {network}")
    })
}

/// Says which GPUs there are.
fn gpus(names: &[String]) -> String {
    let numbered = names.iter().enumerate();
    let numbered: Vec<String> = numbered.map(|(at, name)| format!("{at} {name}")).collect();
    match numbered.as_slice() {
        [] => "there is no GPU".into(),
        [one] => format!("there is one GPU: {one}"),
        several => format!("there are {} GPUs: {}", several.len(), several.join(", ")),
    }
}

/// The most tensors of a kind that an error names.
const MOST_NAMED: usize = 10;

/// How the tensors of a file differ from those that a network has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// The names of tensors that the file lacks.
    pub missing: Vec<String>,
    /// The names of tensors that have other shapes, with the expected and the found one.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// The names of tensors that are of no type for weights, with their types.
    pub types: Vec<(String, String)>,
    /// The names of tensors with values that are infinite or not numbers.
    pub not_finite: Vec<String>,
    /// The names of variances with values below 0.
    pub negative: Vec<String>,
    /// The names of tensors that the network does not have.
    pub unknown: Vec<String>,
}

impl Mismatch {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (
                "other shapes",
                list(self.shapes.iter().map(|(name, expected, found)| {
                    format!("{name} is {found:?} and should be {expected:?}")
                })),
            ),
            ("missing tensors", list(self.missing.iter().cloned())),
            (
                "tensors that are not F64, F32, F16 or BF16",
                list(
                    self.types
                        .iter()
                        .map(|(name, found)| format!("{name} is {found}")),
                ),
            ),
            (
                "tensors with values that are infinite or not numbers",
                list(self.not_finite.iter().cloned()),
            ),
            (
                "variances with values below 0",
                list(self.negative.iter().cloned()),
            ),
            (
                "tensors that it does not have",
                list(self.unknown.iter().cloned()),
            ),
        ];
        let mut first = true;
        for (kind, names) in kinds {
            if let Some(names) = names {
                let separator = if first { "" } else { "; " };
                write!(f, "{separator}{kind}: {names}")?;
                first = false;
            }
        }
        Ok(())
    }
}

/// The first of the names. `None` if there are none.
fn list(names: impl ExactSizeIterator<Item = String>) -> Option<String> {
    let more = names.len().saturating_sub(MOST_NAMED);
    let named: Vec<String> = names.take(MOST_NAMED).collect();
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!named.is_empty()).then(|| format!("{}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_a_gpu_that_is_not_there_names_those_that_are() {
        let error = |names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            ModelError::NoSuchGpu { index: 3, names }.to_string()
        };
        let starts = |names: &[&str], text: &str| {
            assert!(error(names).starts_with(text), "{}", error(names));
        };
        starts(&["A", "B"], "gpu:3: there are 2 GPUs: 0 A, 1 B; use");
        starts(&["A"], "gpu:3: there is one GPU: 0 A; use");
        starts(&[], "gpu:3: there is no GPU; use");
    }
}
