//! The weights that come with maskline are whole, and compute what the original's do.

use burn::tensor::{Device, Tensor, TensorData};
use maskline_messages::NetworkName;
use maskline_models::weights;
use maskline_pretrained::{EFFICIENTNET_LITE0, backbone};
use sha2::{Digest, Sha256};

/// The images that `make/make.py` computes with.
fn images(side: usize) -> Tensor<4> {
    let mut values = Vec::with_capacity(2 * 3 * side * side);
    for image in 0..2 {
        for channel in 0..3 {
            for y in 0..side {
                for x in 0..side {
                    let (image, channel) = (f64::from(image), f64::from(channel));
                    let across = 0.11 * (channel + 1.0) * x as f64;
                    let down = 0.07 * (image + 1.0) * y as f64;
                    let wave = (across + down + image + channel).sin();
                    values.push((0.5 + 0.5 * wave) as f32);
                }
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [2, 3, side, side]), &Device::flex())
}

#[test]
fn the_features_are_those_of_the_original_with_rounded_weights() {
    let (network, device) = (NetworkName::EfficientnetLite0, Device::flex());
    let network = weights::backbone(EFFICIENTNET_LITE0.safetensors, network, 2, 1, &device);
    let network = network.unwrap();
    let golden = include_str!("golden.txt").lines();
    let mut sides = 0;
    for line in golden {
        let mut words = line.split_whitespace().skip(1);
        let side = words.next().unwrap().parse().unwrap();
        let expected: Vec<f32> = words.map(|word| word.parse().unwrap()).collect();
        let features = network.features(images(side)).into_data();
        let features: Vec<f32> = features.iter::<f32>().collect();
        assert_eq!(features.len(), 2 * 1280);
        assert_eq!(features.len(), expected.len());
        let largest = expected.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        assert!(largest > 0.5, "the features are not all zero");
        let off = features.iter().zip(&expected);
        let off = off.map(|(found, x)| (found - x).abs()).fold(0.0, f32::max);
        assert!(off < 1e-3, "{side} pixels: off by {off:e}");
        sides += 1;
    }
    assert_eq!(sides, 3);
}

#[test]
fn the_file_is_the_one_that_the_readme_names() {
    let found = hex::encode(Sha256::digest(EFFICIENTNET_LITE0.safetensors));
    assert_eq!(found, EFFICIENTNET_LITE0.sha256);
    assert!(include_str!("../README.md").contains(&found));
}

#[test]
fn only_one_network_comes_with_weights() {
    let with: Vec<NetworkName> = NetworkName::ALL
        .into_iter()
        .filter(|&network| backbone(network).is_some())
        .collect();
    assert_eq!(with, [NetworkName::EfficientnetLite0]);
}
