//! Compares the networks with torchvision's. The files in `tests/torchvision` list the tensors
//! and the outputs of torchvision's four networks and of EfficientNet-Lite0 in PyTorch. The script
//! that wrote them is there, too.

use burn::tensor::{Device, Tensor, TensorData};
use maskline_messages::{Label, NetworkName, View};
use maskline_models::{
    Network,
    weights::{self, Card},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{difference, uniform};

const SIDE: usize = 64;

/// One file of `tests/torchvision`.
struct Reference {
    parameters: u64,
    logits: Vec<f32>,
    recalibrated: Vec<f32>,
    /// The name and the shape of each tensor, in the order of the state dict.
    tensors: Vec<(String, Vec<usize>)>,
}

fn reference(network: NetworkName) -> Reference {
    let text = match network {
        NetworkName::MobilenetV2 => include_str!("../torchvision/mobilenet_v2.txt"),
        NetworkName::MobilenetV3Small => include_str!("../torchvision/mobilenet_v3_small.txt"),
        NetworkName::Mnasnet1_0 => include_str!("../torchvision/mnasnet1_0.txt"),
        NetworkName::EfficientnetB0 => include_str!("../torchvision/efficientnet_b0.txt"),
        NetworkName::EfficientnetLite0 => include_str!("../torchvision/efficientnet_lite0.txt"),
    };
    let rest = |word: &str| {
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix(word))
            .expect("a line of the word")
    };
    let floats = |word| {
        rest(word)
            .split_whitespace()
            .map(|x| x.parse().unwrap())
            .collect()
    };
    let tensor = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name").to_owned();
        (name, words.map(|size| size.parse().unwrap()).collect())
    };
    Reference {
        parameters: rest("parameters ").parse().unwrap(),
        logits: floats("logits "),
        recalibrated: floats("recalibrated "),
        tensors: text
            .lines()
            .filter_map(|line| line.strip_prefix("tensor "))
            .map(tensor)
            .collect(),
    }
}

/// The values that `filled` in `make.py` gives a tensor.
fn filled(name: &str, shape: &[usize]) -> Vec<f32> {
    let values = uniform(name, shape.iter().product());
    let each = |x: f32| match shape {
        [_, rest @ ..] if !rest.is_empty() => {
            x * (6.0 / rest.iter().product::<usize>() as f64).sqrt() as f32
        }
        _ if name.ends_with("running_var") => 1.0 + x / 2.0,
        _ if name.ends_with("weight") => 1.0 + x / 8.0,
        _ => x / 8.0,
    };
    values.into_iter().map(each).collect()
}

/// The state dict, as Python's `safetensors.torch.save_file` writes it.
fn state_dict(reference: &Reference) -> Vec<u8> {
    let tensors = reference.tensors.iter().map(|(name, shape)| {
        if name.ends_with("num_batches_tracked") {
            (name, Dtype::I64, shape, 7i64.to_le_bytes().to_vec())
        } else {
            let values = filled(name, shape);
            let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
            (name, Dtype::F32, shape, bytes)
        }
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.to_vec(), bytes).unwrap();
        (name, view)
    });
    safetensors::serialize(views, None).unwrap()
}

fn network(name: NetworkName) -> Network {
    let bytes = state_dict(&reference(name));
    weights::from_state_dict(&bytes, name, 2, &Device::flex()).unwrap()
}

fn images(name: &str) -> Tensor<4> {
    let shape = [2, 3, SIDE, SIDE];
    let values = uniform(name, shape.iter().product());
    let unit = values.into_iter().map(|x| (x + 1.0) / 2.0).collect();
    Tensor::from_data(TensorData::new(unit, shape), &Device::flex())
}

fn logits(network: &Network) -> Vec<f32> {
    let logits = network.forward(images("images")).into_data();
    logits.iter::<f32>().collect()
}

#[test]
fn the_networks_have_as_many_parameters_as_torchvisions() {
    for name in NetworkName::ALL {
        let network = Network::new(name, 2, 0, &Device::flex());
        assert_eq!(network.parameters(), reference(name).parameters, "{name}");
    }
}

#[test]
fn the_networks_have_the_tensors_and_shapes_of_torchvisions() {
    for name in NetworkName::ALL {
        let classes = ["with", "without"].map(|class| class.parse::<Label>().unwrap());
        let card = Card::new(name, classes.to_vec(), 64, View::Face);
        let network = Network::new(name, 2, 0, &Device::flex());
        let bytes = weights::to_safetensors(&network, &card).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut found: Vec<(String, Vec<usize>)> = file
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec()))
            .collect();
        let mut expected = reference(name).tensors;
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn layers_come_in_the_order_of_the_state_dict() {
    for name in NetworkName::ALL {
        let rows = Network::new(name, 2, 0, &Device::flex()).summary();
        let found: Vec<String> = rows.into_iter().map(|row| row.name).collect();
        let modules = reference(name).tensors.into_iter();
        let mut expected: Vec<String> = modules
            .filter_map(|(tensor, _)| Some(tensor.strip_suffix(".weight")?.to_owned()))
            .collect();
        expected.dedup();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn the_same_weights_give_the_same_logits() {
    for name in NetworkName::ALL {
        let off = difference(&logits(&network(name)), &reference(name).logits);
        assert!(off < 1e-4, "{name}: off by {off:e}");
    }
}

#[test]
fn running_statistics_recomputed_over_two_batches_are_pytorchs_cumulative_average() {
    for name in NetworkName::ALL {
        let recalibrated = network(name)
            .recalibrated(["first", "second"].map(images))
            .unwrap();
        let off = difference(&logits(&recalibrated), &reference(name).recalibrated);
        assert!(off < 1e-3, "{name}: off by {off:e}");
    }
}
