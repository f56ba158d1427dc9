//! Tests of weights in files: they are read as they were written, and a file that does not
//! fit is refused with a plain error.

mod card;

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use half::{bf16, f16};
use image::RgbImage;
use maskline_messages::{Label, NetworkName, View};
use maskline_models::{
    Classifier, Input, ModelError, Network, input,
    prediction::Prediction,
    weights::{self, Card},
};
use maskline_vision::view::Part;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{difference, uniform};

const NAME: NetworkName = NetworkName::MobilenetV3Small;

fn card() -> Card {
    let classes = ["with_mask", "without_mask"].map(|class| class.parse::<Label>().unwrap());
    Card::new(NAME, classes.to_vec(), 32, View::Face)
}

fn network() -> Network {
    Network::new(NAME, 2, 9, &Device::flex())
}

fn file() -> Vec<u8> {
    weights::to_safetensors(&network(), &card()).unwrap()
}

/// Pictures of the network's size, of random pixels.
fn pictures(count: usize) -> Vec<RgbImage> {
    let values = uniform("pictures", count * 3 * 32 * 32);
    let bytes: Vec<u8> = values
        .into_iter()
        .map(|x| ((x + 1.0) / 2.0 * 255.0) as u8)
        .collect();
    let picture = |bytes: &[u8]| RgbImage::from_raw(32, 32, bytes.to_vec()).unwrap();
    bytes.chunks_exact(3 * 32 * 32).map(picture).collect()
}

/// The name, type, shape and bytes of a tensor.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);
type Tensors = Vec<Stored>;

/// The file with changed tensors or metadata.
fn changed(change: impl FnOnce(&mut Tensors, &mut HashMap<String, String>)) -> Vec<u8> {
    let file = file();
    let (_, header) = SafeTensors::read_metadata(&file).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut tensors: Tensors = tensors
        .iter()
        .map(|(name, of)| {
            (
                name.into(),
                of.dtype(),
                of.shape().to_vec(),
                of.data().to_vec(),
            )
        })
        .collect();
    change(&mut tensors, &mut metadata);
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, Some(metadata)).unwrap()
}

fn find<'a>(tensors: &'a mut Tensors, name: &str) -> &'a mut Stored {
    tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap()
}

fn refused(bytes: &[u8]) -> ModelError {
    weights::from_safetensors(bytes, &Device::flex()).expect_err("a file to refuse")
}

#[test]
fn weights_are_read_as_they_were_written() {
    let file = file();
    assert_eq!(weights::card(&file).unwrap(), card());
    let (again, read) = weights::from_safetensors(&file, &Device::flex()).unwrap();
    assert_eq!(read, card());
    let twice = weights::to_safetensors(&again, &read).unwrap();
    assert!(twice == file, "the same weights give the same file");
}

#[test]
fn a_file_that_is_cut_off_or_of_another_kind_is_unreadable() {
    let file = file();
    for bytes in [
        &file[..0],
        &file[..7],
        &file[..200],
        &file[..file.len() - 1],
        b"PK\x03\x04 zip",
    ] {
        assert!(matches!(refused(bytes), ModelError::Unreadable(_)));
    }
}

#[test]
fn a_file_without_a_card_says_what_it_lacks() {
    let bytes = changed(|_, metadata| metadata.clear());
    assert!(matches!(refused(&bytes), ModelError::NoCard));
    let bytes = changed(|_, metadata| {
        metadata
            .values_mut()
            .for_each(|card| *card = card.replace("32", "\"many\""));
    });
    assert!(matches!(refused(&bytes), ModelError::BadCard(_)));
}

#[test]
fn every_tensor_must_be_there_once_and_fit() {
    let mismatch = |bytes: &[u8]| match refused(bytes) {
        ModelError::Mismatch {
            network: NAME,
            mismatch,
            ..
        } => mismatch,
        other => panic!("{other}"),
    };
    let missing = changed(|tensors, _| tensors.retain(|(name, ..)| name != "classifier.3.bias"));
    assert_eq!(mismatch(&missing).missing, ["classifier.3.bias"]);

    let left_over = changed(|tensors, _| {
        tensors.push(("head.weight".into(), Dtype::F32, vec![1], vec![0; 4]));
    });
    assert_eq!(mismatch(&left_over).unknown, ["head.weight"]);

    let misshapen = changed(|tensors, _| {
        for (name, _, shape, _) in tensors {
            match name.as_str() {
                "classifier.3.weight" => *shape = vec![1024, 2],
                "classifier.0.weight" => *shape = vec![576, 1024],
                _ => {}
            }
        }
    });
    let expected = "these are not the weights of mobilenet_v3_small: other shapes: \
                    classifier.0.weight is [576, 1024] and should be [1024, 576], \
                    classifier.3.weight is [1024, 2] and should be [2, 1024]";
    assert_eq!(refused(&misshapen).to_string(), expected);

    let not_finite = changed(|tensors, _| {
        let (_, _, _, bytes) = find(tensors, "classifier.3.bias");
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert_eq!(mismatch(&not_finite).not_finite, ["classifier.3.bias"]);

    let of_another_type = changed(|tensors, _| {
        let (_, dtype, _, bytes) = find(tensors, "classifier.3.bias");
        *dtype = Dtype::I32;
        bytes[..4].fill(0);
    });
    let types = mismatch(&of_another_type).types;
    assert_eq!(types, [("classifier.3.bias".into(), "I32".into())]);
}

/// The file with its floats in a type of two bytes.
fn halved(dtype: Dtype, halve: impl Fn(f32) -> [u8; 2]) -> Vec<u8> {
    changed(|tensors, _| {
        let floats = tensors
            .iter_mut()
            .filter(|(_, dtype, ..)| *dtype == Dtype::F32);
        for (_, of, _, bytes) in floats {
            *of = dtype;
            let (values, _) = bytes.as_chunks();
            *bytes = values
                .iter()
                .flat_map(|&x| halve(f32::from_le_bytes(x)))
                .collect();
        }
    })
}

#[test]
fn floats_of_two_bytes_are_read_too() {
    let logits = |bytes: &[u8]| -> Vec<f32> {
        let (network, _) = weights::from_safetensors(bytes, &Device::flex()).unwrap();
        let mut values = vec![0; input::len(32)];
        input::write(&pictures(1)[0], 32, &mut values);
        let image = input::tensor(values, 32, &Device::flex());
        network.forward(image).into_data().iter::<f32>().collect()
    };
    let whole = logits(&file());
    // They have 11 and 8 digits of binary numbers.
    let f16 = halved(Dtype::F16, |x| f16::from_f32(x).to_le_bytes());
    let bf16 = halved(Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes());
    for (bytes, bound) in [(f16, 0.02), (bf16, 0.2)] {
        let read = logits(&bytes);
        let off = difference(&read, &whole);
        assert!(off > 0.0 && off < bound, "off by {off:e}");
    }
}

#[test]
fn what_a_network_can_begin_from_is_known_without_its_weights() {
    for name in NetworkName::ALL {
        let network = Network::new(name, 5, 9, &Device::flex());
        let classes = ["a", "b", "c", "d", "e"].map(|class| class.parse::<Label>().unwrap());
        let card = Card::new(name, classes.to_vec(), 32, View::Face);
        let file = weights::to_safetensors(&network, &card).unwrap();
        for other in NetworkName::ALL {
            match weights::check(&file, other) {
                Ok(()) => assert_eq!(other, name),
                Err(error) => {
                    let theirs = format!(". They are those of {name}");
                    assert!(error.to_string().ends_with(&theirs), "{error}");
                }
            }
        }
        assert!(weights::check(&file, name).is_ok());
    }
    // It refuses what the training would refuse, with the same words.
    let damaged = changed(|tensors, _| {
        tensors.retain(|(name, ..)| name != "features.0.0.weight");
        let block = tensors
            .iter_mut()
            .find(|(name, ..)| name == "features.1.block.0.0.weight");
        let (_, _, _, bytes) = block.unwrap();
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        tensors.push(("head.weight".into(), Dtype::F32, vec![1], vec![0; 4]));
    });
    let checked = weights::check(&damaged, NAME).unwrap_err().to_string();
    let built = weights::backbone(&damaged, NAME, 2, 0, &Device::flex());
    assert_eq!(checked, built.unwrap_err().to_string());
    for part in ["features.0.0.weight", "features.1.block", "head.weight"] {
        assert!(checked.contains(part), "{checked}");
    }
    assert!(!checked.contains("They are"), "no network fits: {checked}");
}

#[test]
fn a_backbone_keeps_its_layers_and_has_a_new_classifier() {
    for name in NetworkName::ALL {
        let original = Network::new(name, 5, 9, &Device::flex());
        let classes = ["a", "b", "c", "d", "e"].map(|class| class.parse::<Label>().unwrap());
        let file = weights::to_safetensors(
            &original,
            &Card::new(name, classes.to_vec(), 32, View::Face),
        )
        .unwrap();
        let with = |seed| weights::backbone(&file, name, 2, seed, &Device::flex()).unwrap();
        let network = with(3);
        let mut values = vec![0; input::len(32)];
        input::write(&pictures(1)[0], 32, &mut values);
        let image = input::tensor(values, 32, &Device::flex());
        let vec = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!(
            vec(network.features(image.clone())),
            vec(original.features(image.clone()))
        );
        let logits = vec(network.forward(image.clone()));
        assert_eq!(logits.len(), 2, "{name}");
        assert_eq!(logits, vec(with(3).forward(image.clone())));
        assert_ne!(logits, vec(with(4).forward(image)));
    }
}

#[test]
fn another_classifier_is_what_the_network_computes() {
    let network = Network::new(NetworkName::EfficientnetLite0, 2, 9, &Device::flex());
    let mut values = vec![0; input::len(32)];
    input::write(&pictures(1)[0], 32, &mut values);
    let image = input::tensor(values, 32, &Device::flex());
    let features: Vec<f32> = network
        .features(image.clone())
        .into_data()
        .iter::<f32>()
        .collect();
    let count = network.feature_count();
    assert_eq!(features.len(), count);
    let mut weight = vec![0.0; 2 * count];
    (weight[7], weight[count + 9]) = (2.0, -3.0);
    let network = network
        .with_classifier(weight.clone(), vec![0.5, 0.25])
        .unwrap();
    let logits: Vec<f32> = network.forward(image).into_data().iter::<f32>().collect();
    let expected = [2.0 * features[7] + 0.5, -3.0 * features[9] + 0.25];
    assert!(difference(&logits, &expected) < 1e-5);
    let refused = network.with_classifier(weight, vec![0.5]).unwrap_err();
    assert!(matches!(
        refused,
        ModelError::LastLayer {
            expected: 2,
            found: 1,
            ..
        }
    ));
}

#[test]
fn another_networks_weights_are_refused() {
    let bytes = changed(|_, metadata| {
        let other = |card: &mut String| *card = card.replace("mobilenet_v3_small", "mobilenet_v2");
        metadata.values_mut().for_each(other);
    });
    let refused = refused(&bytes).to_string();
    let beginning = "these are not the weights of mobilenet_v2: ";
    assert!(refused.starts_with(beginning), "{refused}");
    assert!(
        refused.contains("and 2"),
        "only some tensors are named: {refused}"
    );
    assert!(refused.len() < 3000, "{refused}");
}

#[test]
fn a_classifier_predicts_image_by_image() {
    fn shared_by_threads<T: Send + Sync>(_: &T) {}
    let classifier = Classifier::load(&file(), &Device::flex()).unwrap();
    shared_by_threads(&classifier);
    assert_eq!(classifier.card(), &card());
    // More than are computed at once.
    let inputs = pictures(35).into_iter();
    let whole = Part::whole(32, 32);
    let inputs: Vec<Input> = inputs
        .map(|picture| classifier.input(&picture, &whole))
        .collect();
    let all = classifier.predict(&inputs).unwrap();
    assert_eq!(all.len(), inputs.len());
    let probabilities = |prediction: &Prediction| [0, 1].map(|class| prediction.probability(class));
    let together = probabilities(&all[34]);
    let alone = probabilities(&classifier.predict(&inputs[34..]).unwrap()[0]);
    for (together, alone) in together.into_iter().zip(alone) {
        assert!((together - alone).abs() < 1e-5);
    }
    assert!((alone.iter().sum::<f64>() - 1.0).abs() < 1e-5);

    let mut values = vec![0; input::len(32)];
    input::write(&pictures(35)[34], 32, &mut values);
    let image = input::tensor(values, 32, &Device::flex());
    let logits: Vec<f32> = network().forward(image).into_data().iter::<f32>().collect();
    let odds = (alone[0] / alone[1]).ln();
    assert!((odds - f64::from(logits[0] - logits[1])).abs() < 1e-4);
    assert!(classifier.predict(&[]).unwrap().is_empty());
}
