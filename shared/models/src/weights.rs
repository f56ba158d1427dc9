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
    error::{Mismatch, ModelError},
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
/// [`ModelError::Unreadable`] if the file is not a safetensors file. [`ModelError::Mismatch`] if
/// tensors are missing, are unknown, have another shape or are not of `f32`, `f16` or `bf16`.
pub fn from_state_dict(
    bytes: &[u8],
    network: NetworkName,
    classes: usize,
    device: &Device,
) -> Result<Network, ModelError> {
    let mut source = StateDict::new(network, bytes)?;
    let builder = Builder {
        source: &mut source,
        device,
    };
    let built = Network::build(builder, network, classes)?;
    source.finish()?;
    Ok(built)
}

/// Reads the layers before the last one from a state dict that may have a last layer of its own,
/// for other classes, which is left out. The last layer is new, drawn from `seed`.
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
        file: StateDict::new(network, bytes)?,
        new: RandomValues::new(seed),
        classifier: format!("{}.", table(network).layout.classifier()),
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
    /// The name of the last layer, with the point after it.
    classifier: String,
}

impl Backbone<'_> {
    fn is_new(&self, name: &str) -> bool {
        name.starts_with(&self.classifier)
    }

    fn finish(mut self) -> Result<(), ModelError> {
        let names = self.file.tensors.names().into_iter();
        let left_out: Vec<String> = names
            .filter(|name| self.is_new(name))
            .map(Into::into)
            .collect();
        self.file.taken.extend(left_out);
        self.file.finish()
    }
}

impl TensorSource for Backbone<'_> {
    fn values(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Vec<f32>, ModelError> {
        match self.is_new(name) {
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
    mismatch: Mismatch,
}

impl TensorSource for StateDict<'_> {
    /// What does not fit is noted, and zeros are taken in its place, so that an error can name all
    /// of it.
    fn values(&mut self, name: &str, shape: &[usize], _: Init) -> Result<Vec<f32>, ModelError> {
        self.taken.insert(name.to_owned());
        let none = vec![0.0; shape.iter().product()];
        let Ok(tensor) = self.tensors.tensor(name) else {
            self.mismatch.missing.push(name.to_owned());
            return Ok(none);
        };
        if tensor.shape() != shape {
            let (expected, found) = (shape.to_vec(), tensor.shape().to_vec());
            let shapes = (name.to_owned(), expected, found);
            self.mismatch.shapes.push(shapes);
            return Ok(none);
        }
        let Some(values) = floats_of(tensor.dtype(), tensor.data()) else {
            let types = (name.to_owned(), tensor.dtype().to_string());
            self.mismatch.types.push(types);
            return Ok(none);
        };
        if !values.iter().all(|value| value.is_finite()) {
            self.mismatch.not_finite.push(name.to_owned());
        }
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

impl<'a> StateDict<'a> {
    fn new(network: NetworkName, bytes: &'a [u8]) -> Result<Self, ModelError> {
        Ok(Self {
            network,
            tensors: SafeTensors::deserialize(bytes)?,
            taken: HashSet::new(),
            mismatch: Mismatch::default(),
        })
    }

    /// Refuses a file whose tensors are not those that the network took.
    fn finish(mut self) -> Result<(), ModelError> {
        let names = self.tensors.names().into_iter();
        let left = names.filter(|name| !self.taken.contains(*name) && !name.ends_with(BATCHES));
        let mut unknown: Vec<String> = left.map(Into::into).collect();
        unknown.sort();
        self.mismatch.unknown = unknown;
        if self.mismatch.is_empty() {
            return Ok(());
        }
        Err(ModelError::Mismatch {
            network: self.network,
            mismatch: Box::new(self.mismatch),
        })
    }
}
