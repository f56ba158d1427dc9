//! Weights as safetensors files, with the names of torchvision's state dict.
//!
//! `load_state_dict` of torchvision takes what `safetensors.torch.load_file` reads from a
//! file written here, and the files that `safetensors.torch.save_file` writes can be read
//! here.

use std::collections::{BTreeMap, HashMap, HashSet};

use burn::tensor::{Device, Tensor};
use half::{bf16, f16};
use maskline_messages::{Label, NetworkName, View};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{
    error::ModelError,
    init::{Builder, Init, RandomValues, TensorSource},
    input::Standardization,
    network::{Layer, Network},
    table::table,
};

/// The tensor in which PyTorch's batch norm counts its batches. Nothing here needs it.
const BATCHES: &str = "num_batches_tracked";

/// The entry of the file's metadata with the card as JSON. There is only one entry,
/// because several would be written in a random order, and the same weights must give the
/// same file.
const CARD: &str = "maskline";

/// The description that a program needs to use the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    pub network: NetworkName,
    /// The name of each class, in the order of the logits.
    pub classes: Vec<Label>,
    /// The width and the height of the images that the network was trained on.
    pub pixels: u32,
    /// What the network was shown of a picture.
    #[serde(default = "View::of_earlier_builds")]
    pub view: View,
    /// How the network standardizes its input.
    #[serde(default)]
    pub input: Standardization,
}

impl Card {
    /// The card of a network with the standardization of its table.
    pub fn new(network: NetworkName, classes: Vec<Label>, pixels: u32, view: View) -> Self {
        Self {
            network,
            classes,
            pixels,
            view,
            input: table(network).input,
        }
    }
}

/// Writes the network's weights and running statistics, as little-endian `f32`.
///
/// # Errors
/// [`ModelError::Classes`] if the card does not name every class.
pub fn to_safetensors(network: &Network, card: &Card) -> Result<Vec<u8>, ModelError> {
    if card.classes.len() != network.classes() {
        return Err(ModelError::Classes {
            network: network.classes(),
            card: card.classes.len(),
        });
    }
    let card = serde_json::to_string(card).expect("names and numbers are JSON");
    let metadata = HashMap::from([(CARD.to_owned(), card)]);
    let mut stored = BTreeMap::new();
    for layer in network.each_layer() {
        store(&layer, &mut stored);
    }
    let views = stored.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        view.map(|view| (name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    Ok(safetensors::serialize(views, Some(metadata))?)
}

struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn store(layer: &Layer, to: &mut BTreeMap<String, Stored>) {
    let mut put = |tensor: &str, stored| to.insert(format!("{}.{tensor}", layer.name()), stored);
    match layer {
        Layer::Convolution(layer) => {
            put("weight", floats(layer.weight.val()));
            if let Some(bias) = &layer.bias {
                put("bias", floats(bias.val()));
            }
        }
        Layer::Norm(layer) => {
            put("weight", floats(layer.weight.val()));
            put("bias", floats(layer.bias.val()));
            put("running_mean", floats(layer.running_mean.value_sync()));
            put("running_var", floats(layer.running_variance.value_sync()));
            let none = Stored {
                dtype: Dtype::I64,
                shape: Vec::new(),
                bytes: 0i64.to_le_bytes().to_vec(),
            };
            put(BATCHES, none);
        }
        Layer::Linear(layer) => {
            put("weight", floats(layer.weight.val()));
            put("bias", floats(layer.bias.val()));
        }
    }
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Stored {
    let shape = tensor.dims().to_vec();
    let values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
    Stored {
        dtype: Dtype::F32,
        shape,
        bytes: values.into_iter().flat_map(f32::to_le_bytes).collect(),
    }
}

/// Reads the card of a file.
///
/// # Errors
/// If the file is not a safetensors file, or has no usable card.
pub fn card(bytes: &[u8]) -> Result<Card, ModelError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let metadata = header.metadata().as_ref();
    let card = metadata.and_then(|metadata| metadata.get(CARD));
    serde_json::from_str(card.ok_or(ModelError::NoCard)?).map_err(ModelError::BadCard)
}

/// Reads a network and its card, as [`to_safetensors`] wrote them.
///
/// # Errors
/// See [`card`] and [`from_state_dict`].
pub fn from_safetensors(bytes: &[u8], device: &Device) -> Result<(Network, Card), ModelError> {
    let card = card(bytes)?;
    let network = from_state_dict(bytes, card.network, card.classes.len(), device)?;
    Ok((network.with_input(card.input), card))
}

/// Reads a network from the state dict of torchvision's network, which has no card.
///
/// # Errors
/// If the file is not a safetensors file, or if a tensor is missing, is unknown, has another
/// shape or is not of `f32`, `f16` or `bf16`.
pub fn from_state_dict(
    bytes: &[u8],
    network: NetworkName,
    classes: usize,
    device: &Device,
) -> Result<Network, ModelError> {
    let mut source = StateDict {
        network,
        tensors: SafeTensors::deserialize(bytes)?,
        taken: HashSet::new(),
    };
    let builder = Builder {
        source: &mut source,
        device,
    };
    let built = Network::build(builder, network, classes)?;
    source.finish()?;
    Ok(built)
}

/// Reads the layers before the classifier from a state dict that may have a classifier of its own,
/// which is left out. The classifier is new, drawn from `seed`.
///
/// # Errors
/// See [`from_state_dict`].
pub fn backbone(
    bytes: &[u8],
    network: NetworkName,
    classes: usize,
    seed: u64,
    device: &Device,
) -> Result<Network, ModelError> {
    let mut source = Backbone {
        file: StateDict {
            network,
            tensors: SafeTensors::deserialize(bytes)?,
            taken: HashSet::new(),
        },
        new: RandomValues::new(seed),
        head: table(network).layout.classifiers(),
    };
    let builder = Builder {
        source: &mut source,
        device,
    };
    let built = Network::build(builder, network, classes)?;
    source.finish()?;
    Ok(built)
}

/// The tensors of a file for the layers before the classifier, and random ones for that.
struct Backbone<'a> {
    file: StateDict<'a>,
    new: RandomValues,
    /// The names of the classifier's layers, with the point after them.
    head: Vec<String>,
}

impl Backbone<'_> {
    fn is_head(&self, name: &str) -> bool {
        self.head.iter().any(|layer| name.starts_with(layer))
    }

    fn finish(mut self) -> Result<(), ModelError> {
        let names = self.file.tensors.names().into_iter();
        let left_out: Vec<String> = names
            .filter(|name| self.is_head(name))
            .map(Into::into)
            .collect();
        self.file.taken.extend(left_out);
        self.file.finish()
    }
}

impl TensorSource for Backbone<'_> {
    fn values(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Vec<f32>, ModelError> {
        match self.is_head(name) {
            true => self.new.values(name, shape, init),
            false => self.file.values(name, shape, init),
        }
    }
}

/// The tensors of a file.
struct StateDict<'a> {
    network: NetworkName,
    tensors: SafeTensors<'a>,
    /// The names of the tensors that the network took.
    taken: HashSet<String>,
}

impl TensorSource for StateDict<'_> {
    fn values(&mut self, name: &str, shape: &[usize], _: Init) -> Result<Vec<f32>, ModelError> {
        let network = self.network;
        let tensor = self.tensors.tensor(name).map_err(|_| ModelError::Missing {
            network,
            name: name.to_owned(),
        })?;
        if tensor.shape() != shape {
            return Err(ModelError::Shape {
                network,
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: tensor.shape().to_vec(),
            });
        }
        let values = floats_of(tensor.dtype(), tensor.data()).ok_or_else(|| ModelError::Type {
            name: name.to_owned(),
            found: tensor.dtype().to_string(),
        })?;
        self.taken.insert(name.to_owned());
        Ok(values)
    }
}

/// The values of a tensor of one of the types that weights come in.
fn floats_of(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = || bytes.as_chunks().0.iter().copied();
    Some(match dtype {
        Dtype::F32 => {
            let (floats, _) = bytes.as_chunks();
            floats.iter().copied().map(f32::from_le_bytes).collect()
        }
        Dtype::F16 => halves().map(|x| f16::from_le_bytes(x).to_f32()).collect(),
        Dtype::BF16 => halves().map(|x| bf16::from_le_bytes(x).to_f32()).collect(),
        _ => return None,
    })
}

impl StateDict<'_> {
    /// Refuses a file with tensors that the network did not take.
    fn finish(self) -> Result<(), ModelError> {
        let names = self.tensors.names();
        let left: Vec<&str> = names
            .into_iter()
            .filter(|name| !self.taken.contains(*name) && !name.ends_with(BATCHES))
            .collect();
        match left.iter().min() {
            None => Ok(()),
            Some(name) => Err(ModelError::LeftOver {
                network: self.network,
                count: left.len(),
                name: (*name).to_owned(),
            }),
        }
    }
}
