//! The network's outputs are those of the original file, as a Python runtime computes them.
//! `data/convert.py` writes `golden.safetensors`, and has the same inputs.

use burn::tensor::{Device, Tensor, TensorData};
use maskline_faces::{network::BlazeFace, weights::PUBLISHED};
use safetensors::SafeTensors;

use crate::drawn;

const SIDE: usize = 128;

static GOLDEN: &[u8] = include_bytes!("../golden.safetensors");

fn golden(name: &str) -> Vec<f32> {
    let tensors = SafeTensors::deserialize(GOLDEN).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let (values, _) = tensor.data().as_chunks();
    values.iter().copied().map(f32::from_le_bytes).collect()
}

/// Values in [-1, 1) by SplitMix64, in the order of rows, columns and channels.
fn noise() -> Vec<f32> {
    let value = |index: u64| {
        let mut z = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (2.0 * ((z >> 40) as f64 / f64::from(1 << 24)) - 1.0) as f32
    };
    (0..(SIDE * SIDE * 3) as u64).map(value).collect()
}

fn check(name: &str, rows: Vec<f32>) {
    let device = Device::flex();
    let network = BlazeFace::new(PUBLISHED, &device).unwrap();
    let image = TensorData::new(rows, [1, SIDE, SIDE, 3]);
    let image = Tensor::<4>::from_data(image, &device).permute([0, 3, 1, 2]);
    let output = network.forward(image);
    for (part, data) in [
        ("boxes", output.values.into_data()),
        ("scores", output.scores.into_data()),
    ] {
        let found: Vec<f32> = data.iter::<f32>().collect();
        let expected = golden(&format!("{name}.{part}"));
        assert_eq!(found.len(), expected.len());
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() < 1e-3,
                "{name}, value {at} of {part}: {found}, not {expected}"
            );
        }
    }
}

#[test]
fn noise_gives_what_the_original_gives() {
    check("noise", noise());
}

#[test]
fn a_drawn_face_gives_what_the_original_gives() {
    let picture = drawn::face();
    let values = picture.as_raw().iter();
    let values = values.map(|&value| (f64::from(value) / 127.5 - 1.0) as f32);
    check("drawn", values.collect());
}
