//! Tests of whole networks: their gradients, seeds and statistics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor, TensorData},
};
use maskline_messages::NetworkName;
use maskline_models::Network;

use crate::{difference, uniform};

const SIDE: usize = 40;

fn images(name: &str, count: usize, device: &Device) -> Tensor<4> {
    images_of(SIDE, name, count, device)
}

pub fn images_of(side: usize, name: &str, count: usize, device: &Device) -> Tensor<4> {
    let shape = [count, 3, side, side];
    let values = uniform(name, shape.iter().product());
    let unit = values.into_iter().map(|x| (x + 1.0) / 2.0).collect();
    Tensor::from_data(TensorData::new(unit, shape), device)
}

pub fn vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Burn has one generator of random numbers for all threads. Tests that train, and so drop
/// random values, take this guard to run one after the other.
fn alone_with_the_generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Collects the gradient of every parameter, by its path in the module.
struct Collect<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

/// The gradient of every parameter of a network, by its path in the module.
pub fn collected(network: &Network, gradients: &Gradients) -> BTreeMap<String, Vec<f32>> {
    let mut collect = Collect {
        gradients,
        path: Vec::new(),
        found: BTreeMap::new(),
    };
    network.visit(&mut collect);
    collect.found
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found.insert(self.path.join("."), vec(gradient));
        }
    }
}

/// The gradients of one training pass, which drops the same values every time.
fn gradients(network: &Network) -> BTreeMap<String, Vec<f32>> {
    let device = Device::flex().autodiff();
    device.seed(5);
    let logits = network.forward(images("images", 4, &device));
    let weights = TensorData::new(uniform("weights", 8), [4, 2]);
    let loss = (logits * Tensor::from_data(weights, &device)).sum();
    collected(network, &loss.backward())
}

/// The largest relative difference between two gradients of the same parameter.
fn furthest_off(own: &BTreeMap<String, Vec<f32>>, burn: &BTreeMap<String, Vec<f32>>) -> f32 {
    let largest = |of: &[f32]| of.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    // Some gradients are zero apart from rounding, such as that of a bias that the next
    // batch norm removes.
    let least = 1e-3 * burn.values().map(|of| largest(of)).fold(0.0, f32::max);
    let off = |(own, burn): (&Vec<f32>, &Vec<f32>)| {
        difference(own, burn) * largest(burn) / largest(burn).max(least)
    };
    own.values().zip(burn.values()).map(off).fold(0.0, f32::max)
}

#[test]
fn gradients_of_every_parameter_are_burns() {
    let _alone = alone_with_the_generator();
    let device = Device::flex().autodiff();
    for name in NetworkName::ALL {
        // With some seeds a value lies so near the corner of a ReLU that rounding decides
        // its side, and with it the gradients of all layers before. A gradient that is
        // computed wrongly is off with every seed.
        let least_off = (1..=6).map(|seed| {
            let network = Network::new(name, 2, seed, &device);
            let own = gradients(&network);
            let burn = gradients(&network.clone().with_burn_kernels());
            // A batch norm has two parameters, a convolution one, and there are as many
            // of the one as of the other.
            assert!(
                own.len() > network.summary().len(),
                "{name}: {} gradients",
                own.len()
            );
            assert!(own.keys().eq(burn.keys()), "{name}: of the same parameters");
            furthest_off(&own, &burn)
        });
        let least_off = least_off.fold(f32::INFINITY, f32::min);
        assert!(
            least_off < 1e-3,
            "{name}: a gradient is off by {least_off:e}"
        );
    }
}

#[test]
fn logits_and_running_statistics_are_burns() {
    let device = Device::flex();
    for name in NetworkName::ALL {
        let network = Network::new(name, 2, 3, &device);
        let statistics = || [images("first", 4, &device), images("second", 3, &device)];
        let own = network.recalibrated(statistics()).unwrap();
        let burn = network
            .clone()
            .with_burn_kernels()
            .recalibrated(statistics())
            .unwrap();
        let images = images("images", 2, &device);
        let off = difference(
            &vec(own.forward(images.clone())),
            &vec(burn.forward(images)),
        );
        assert!(off < 1e-3, "{name}: the logits are off by {off:e}");
    }
}

#[test]
fn the_same_seed_gives_the_same_whatever_the_threads() {
    let _alone = alone_with_the_generator();
    let device = Device::flex().autodiff();
    let with = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a thread pool").install(|| {
            gradients(&Network::new(
                NetworkName::MobilenetV3Small,
                2,
                seed,
                &device,
            ))
        })
    };
    let once = with(1, 3);
    assert_eq!(once, with(3, 3));
    assert_ne!(once, with(1, 4));
}

#[test]
fn training_moves_the_running_statistics_and_inference_does_not() {
    let _alone = alone_with_the_generator();
    let device = Device::flex().autodiff();
    let network = Network::new(NetworkName::MobilenetV3Small, 2, 3, &device);
    let plain = Device::flex();
    let seen = images("images", 4, &plain);
    let before = vec(network.valid().forward(seen.clone()));
    assert_eq!(before, vec(network.valid().forward(seen.clone())));
    network.forward(images("images", 4, &device));
    assert_ne!(before, vec(network.valid().forward(seen)));
}

#[test]
fn recalibration_does_not_change_the_original_network() {
    let device = Device::flex();
    let network = Network::new(NetworkName::MobilenetV3Small, 2, 3, &device);
    let seen = images("images", 4, &device);
    let before = vec(network.forward(seen.clone()));
    let recalibrated = network.recalibrated([seen.clone()]).unwrap();
    assert_ne!(before, vec(recalibrated.forward(seen.clone())));
    assert_eq!(before, vec(network.forward(seen.clone())));
    let again = network.recalibrated([]).unwrap();
    assert_eq!(
        before,
        vec(again.forward(seen)),
        "without batches the statistics stay"
    );
}

#[test]
fn dropout_and_stochastic_depth_drop_in_training_only() {
    let _alone = alone_with_the_generator();
    let device = Device::flex().autodiff();
    let network = Network::new(NetworkName::EfficientnetB0, 2, 3, &device);
    let training = |seed| {
        device.seed(seed);
        vec(network.forward(images("images", 8, &device)))
    };
    let once = training(1);
    assert_eq!(once, training(1));
    assert_ne!(once, training(2));
    let plain = Device::flex();
    let inference = |seed| {
        plain.seed(seed);
        vec(network.valid().forward(images("images", 8, &plain)))
    };
    assert_eq!(inference(1), inference(2));
}

#[test]
fn a_network_has_no_more_frozen_blocks_than_blocks() {
    for (name, blocks) in [
        (NetworkName::MobilenetV2, 17),
        (NetworkName::MobilenetV3Small, 11),
        // The first stage, which has no expansion, is one.
        (NetworkName::Mnasnet1_0, 17),
        (NetworkName::EfficientnetB0, 16),
        (NetworkName::EfficientnetLite0, 16),
    ] {
        Network::check_frozen_blocks(name, blocks).unwrap();
        let network = Network::new(name, 2, 1, &Device::flex());
        let refused = network.with_frozen_blocks(blocks + 1).err().unwrap();
        let expected = format!("{} blocks can't be frozen: {name} has {blocks}", blocks + 1);
        assert_eq!(refused.to_string(), expected);
    }
}
