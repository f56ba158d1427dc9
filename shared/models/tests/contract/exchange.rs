//! Exchanges weights with torchvision itself. `tests/torchvision/exchange.py` says how to run it.

use std::{env, fs, path::PathBuf};

use burn::tensor::Device;
use maskline_messages::{NetworkName, View};
use maskline_models::{
    Network,
    weights::{self, Card},
    weights_file,
};

use crate::{difference, torchvision::logits};

const NETWORKS: [NetworkName; 4] = [
    NetworkName::MobilenetV2,
    NetworkName::MobilenetV3Small,
    NetworkName::Mnasnet1_0,
    NetworkName::EfficientnetB0,
];

/// How much the logits may differ from torchvision's, as a share of the largest.
const BOUND: f32 = 1e-4;

fn expected(path: &str) -> Vec<f32> {
    let text = fs::read_to_string(path).unwrap();
    let words = text.split_whitespace().skip(1);
    words.map(|word| word.parse().unwrap()).collect()
}

#[test]
#[ignore = "it needs files that tests/torchvision/exchange.py makes with torchvision"]
fn torchvisions_own_weights_give_its_logits_and_are_written_back() {
    let folder = env::var("MASKLINE_TORCHVISION_FILES").expect("the folder of the files");
    let device = Device::flex();
    for name in NETWORKS {
        for classes in [2, 1000] {
            let stem = format!("{folder}/{name}-{classes}");
            let expected = expected(&format!("{stem}.txt"));
            for kind in ["pth", "legacy.pth", "safetensors"] {
                let bytes = weights_file::read(&PathBuf::from(format!("{stem}.{kind}"))).unwrap();
                let network = weights::from_state_dict(&bytes, name, classes, &device).unwrap();
                let off = difference(&logits(&network), &expected);
                println!("{name}, {classes} classes, {kind}: off by {off:.1e}");
                assert!(off < BOUND);
                // Only the last layer of a network for other classes is new.
                let begun = weights::backbone(&bytes, name, 3, 7, &device).unwrap();
                assert_eq!(logits(&begun).len(), 2 * 3);
                let (one, other) = (features(&network), features(&begun));
                assert_eq!(one, other, "{name}: the layers before it are the same");
                if classes == 2 {
                    export(&network, name, &stem);
                }
            }
        }
    }
}

fn features(network: &Network) -> Vec<f32> {
    let features = network.features(crate::torchvision::images("images"));
    features.into_data().iter::<f32>().collect()
}

fn export(network: &Network, name: NetworkName, stem: &str) {
    let classes = ["with_mask", "without_mask"].map(|class| class.parse().unwrap());
    let card = Card::new(name, classes.to_vec(), 64, View::Face);
    let bytes = weights::to_safetensors(network, &card).unwrap();
    fs::write(format!("{stem}.exported.safetensors"), bytes).unwrap();
}
