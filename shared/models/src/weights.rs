//! Weights as safetensors files, with the names of torchvision's state dict.
//!
//! `load_state_dict` of torchvision takes what `safetensors.torch.load_file` reads from a
//! file written here, and the files that `safetensors.torch.save_file` writes can be read
//! here.
//!
//! * `card`: what a file says about its network.
//! * `state_dict`: the tensors of a file, as a network takes them.

mod card;
mod state_dict;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use maskline_messages::NetworkName;
use safetensors::{Dtype, tensor::TensorView};

use crate::{
    device,
    error::ModelError,
    init::{Builder, TensorSource},
    layer::Layer,
    network::Network,
};
pub use card::{Card, card, with_card};
use state_dict::{Backbone, Look, StateDict};

/// The tensor in which PyTorch's batch norm counts its batches. Nothing here needs it.
const BATCHES: &str = "num_batches_tracked";

/// Writes the network's weights and running statistics, as little-endian `f32`.
///
/// # Errors
/// [`ModelError::Classes`] if the card does not name every class. If the device can't return the
/// weights, see [`device::read`].
pub fn to_safetensors(network: &Network, card: &Card) -> Result<Vec<u8>, ModelError> {
    if card.classes.len() != network.classes() {
        return Err(ModelError::Classes {
            network: network.classes(),
            card: card.classes.len(),
        });
    }
    let mut stored = BTreeMap::new();
    for layer in network.each_layer() {
        store(&layer, &mut stored)?;
    }
    let views = stored.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        view.map(|view| (name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    Ok(safetensors::serialize(views, Some(card.metadata()))?)
}

struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn store(layer: &Layer, to: &mut BTreeMap<String, Stored>) -> Result<(), ModelError> {
    let mut put = |tensor: &str, stored| to.insert(format!("{}.{tensor}", layer.name()), stored);
    match layer {
        Layer::Convolution(layer) => {
            put("weight", floats(layer.weight.val())?);
            if let Some(bias) = &layer.bias {
                put("bias", floats(bias.val())?);
            }
        }
        Layer::Norm(layer) => {
            put("weight", floats(layer.weight.val())?);
            put("bias", floats(layer.bias.val())?);
            put("running_mean", floats(layer.running_mean.value_sync())?);
            put("running_var", floats(layer.running_variance.value_sync())?);
            let none = Stored {
                dtype: Dtype::I64,
                shape: Vec::new(),
                bytes: 0i64.to_le_bytes().to_vec(),
            };
            put(BATCHES, none);
        }
        Layer::Linear(layer) => {
            put("weight", floats(layer.weight.val())?);
            put("bias", floats(layer.bias.val())?);
        }
    }
    Ok(())
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Result<Stored, ModelError> {
    let shape = tensor.dims().to_vec();
    let values = device::read(tensor)?;
    Ok(Stored {
        dtype: Dtype::F32,
        shape,
        bytes: values.into_iter().flat_map(f32::to_le_bytes).collect(),
    })
}

/// Reads a network and its card, as [`to_safetensors`] wrote them.
///
/// # Errors
/// See [`card`] and [`from_state_dict`].
pub fn from_safetensors(bytes: &[u8], device: &Device) -> Result<(Network, Card), ModelError> {
    let card = card(bytes)?;
    let network = from_state_dict(bytes, card.network, card.classes.len(), device)?;
    let network = network.with_input(card.input);
    Ok((network.with_mirror_image(card.mirror_image), card))
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
    let built = build(&mut source, network, classes, device)?;
    source.finish()?;
    Ok(built)
}

/// Reads the layers before the last one from a state dict that may have a last layer of its own,
/// for other classes, which is left out. The last layer is new, drawn from `seed`.
///
/// # Errors
/// See [`from_state_dict`]. [`ModelError::Mismatch`] names the network that fits the file, if one
/// does.
pub fn backbone(
    bytes: &[u8],
    network: NetworkName,
    classes: usize,
    seed: u64,
    device: &Device,
) -> Result<Network, ModelError> {
    let mut source = Backbone::new(network, bytes, seed)?;
    let built = build(&mut source, network, classes, device)?;
    let finished = source.finish();
    finished.map_err(|error| with_fitting_network(error, bytes))?;
    Ok(built)
}

/// Checks that a network can begin from a file, as [`backbone`] does, without making its weights.
///
/// # Errors
/// See [`backbone`].
pub fn check(bytes: &[u8], network: NetworkName) -> Result<(), ModelError> {
    look(bytes, network).map_err(|error| with_fitting_network(error, bytes))
}

/// Adds the network that can begin from a file to the error of one that can't. No two networks can
/// begin from the same file.
fn with_fitting_network(mut error: ModelError, bytes: &[u8]) -> ModelError {
    if let ModelError::Mismatch { fitting, .. } = &mut error {
        let mut all = NetworkName::ALL.into_iter();
        *fitting = all.find(|&network| look(bytes, network).is_ok());
    }
    error
}

/// Looks whether a network can begin from a file.
fn look(bytes: &[u8], network: NetworkName) -> Result<(), ModelError> {
    // The layer for the classes is not one of the file's.
    const CLASSES: usize = 2;
    let mut source = Look(Backbone::new(network, bytes, 0)?);
    build(&mut source, network, CLASSES, &Device::flex())?;
    source.0.finish()
}

fn build(
    source: &mut dyn TensorSource,
    network: NetworkName,
    classes: usize,
    device: &Device,
) -> Result<Network, ModelError> {
    Network::build(Builder { source, device }, network, classes)
}
