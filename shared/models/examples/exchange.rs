//! Exchanges weights with torchvision itself. `tests/torchvision/exchange.py` makes the files that
//! this program reads, and reads those that it writes:
//!
//! ```sh
//! cargo run --release --package maskline-models --example exchange FOLDER
//! ```

use std::{env, fs, path::PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use maskline_messages::{NetworkName, View};
use maskline_models::{
    Network,
    weights::{self, Card},
    weights_file,
};

const NETWORKS: [NetworkName; 4] = [
    NetworkName::MobilenetV2,
    NetworkName::MobilenetV3Small,
    NetworkName::Mnasnet1_0,
    NetworkName::EfficientnetB0,
];

/// How much the logits may differ from torchvision's, as a share of the largest.
const BOUND: f32 = 1e-4;

/// The shape of the images: two of 64 × 64 pixels.
const SHAPE: [usize; 4] = [2, 3, 64, 64];

fn main() {
    let folder = env::args().nth(1).expect("the folder of the files");
    let images = fs::read(format!("{folder}/images.bin")).expect("exchange.py wrote images.bin");
    let (images, _) = images.as_chunks();
    let images: Vec<f32> = images.iter().copied().map(f32::from_le_bytes).collect();
    let device = Device::flex();
    let images = Tensor::from_data(TensorData::new(images, SHAPE), &device);
    for name in NETWORKS {
        for classes in [2, 1000] {
            let stem = format!("{folder}/{name}-{classes}");
            let expected = expected(&format!("{stem}.txt"));
            for kind in ["pth", "legacy.pth", "safetensors"] {
                let file = PathBuf::from(format!("{stem}.{kind}"));
                let bytes = weights_file::read(&file).expect("a file of weights");
                let network = weights::from_state_dict(&bytes, name, classes, &device);
                let network = network.expect("the weights of the network");
                let off = difference(&values(network.forward(images.clone())), &expected);
                println!("{name}, {classes} classes, {kind}: logits off by {off:.1e}");
                assert!(off < BOUND);
                // Only the last layer of a network for other classes is new.
                let begun = weights::backbone(&bytes, name, 3, 7, &device);
                let begun = begun.expect("the weights of the network");
                assert_eq!(begun.forward(images.clone()).dims(), [SHAPE[0], 3]);
                let features = |network: &Network| values(network.features(images.clone()));
                assert_eq!(features(&network), features(&begun));
                if classes == 2 {
                    export(&network, name, &stem);
                }
            }
        }
    }
}

/// The logits that torchvision's network gave.
fn expected(path: &str) -> Vec<f32> {
    let text = fs::read_to_string(path).expect("exchange.py wrote the logits");
    let words = text.split_whitespace().skip(1);
    words.map(|word| word.parse().expect("a number")).collect()
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The largest difference, as a share of the largest expected value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected
        .iter()
        .fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
    let pairs = found.iter().zip(expected);
    let off = pairs.map(|(found, expected)| (found - expected).abs());
    // A value that is no number differs from all.
    let off = off.map(|off| if off.is_nan() { f32::INFINITY } else { off });
    off.fold(0.0, f32::max) / largest
}

fn export(network: &Network, name: NetworkName, stem: &str) {
    let classes = ["with_mask", "without_mask"].map(|class| class.parse().expect("a label"));
    let card = Card::new(name, classes.to_vec(), 64, View::Face);
    let bytes = weights::to_safetensors(network, &card).expect("a class for each logit");
    fs::write(format!("{stem}.exported.safetensors"), bytes).expect("the file is written");
}
