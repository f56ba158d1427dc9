//! The weights that a GPU moves together move as those do that the CPU moves one by one.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use maskline_messages::{NetworkName, Optimizer as Kind, TrainingSettings};
use maskline_models::{Network, optimizer::Optimizer};
use maskline_test_support::vulkan::{Software, on_gpu};

use crate::{difference, networks::vec, uniform};

/// The most that weights may be off, relative to the largest of their tensor.
const OFF: f32 = 1e-5;

const STEPS: usize = 4;

/// Gradients that depend on the step and on the path of a weight only.
struct Gradients {
    step: usize,
    path: Vec<String>,
    gradients: GradientsParams,
}

impl ModuleVisitor for Gradients {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // Running statistics are not learned, and a clone of a network shares them with it.
        if !param.val().is_require_grad() {
            return;
        }
        let tensor = param.val().inner();
        let shape = tensor.dims();
        let values = uniform(
            &format!("{} {}", self.path.join("."), self.step),
            shape.iter().product(),
        );
        let gradient = Tensor::<D>::from_data(TensorData::new(values, shape), &tensor.device());
        self.gradients.register(param.id, gradient);
    }
}

/// The values of every tensor of a module, by its path.
#[derive(Default)]
struct Values {
    path: Vec<String>,
    values: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = vec(param.val().inner());
        self.values.insert(self.path.join("."), values);
    }
}

fn stepped(
    mut optimizer: Optimizer,
    mut network: Network,
    steps: std::ops::Range<usize>,
) -> (Optimizer, Network) {
    for step in steps {
        let mut visitor = Gradients {
            step,
            path: vec![],
            gradients: GradientsParams::new(),
        };
        network.visit(&mut visitor);
        network = optimizer.step(0.01, network, visitor.gradients);
    }
    (optimizer, network)
}

fn values(network: &Network) -> BTreeMap<String, Vec<f32>> {
    let mut values = Values::default();
    network.visit(&mut values);
    values.values
}

#[test]
fn a_gpu_computes_the_steps_of_the_optimizers_as_the_cpu_does() {
    let test = "gpu::optimizer::a_gpu_computes_the_steps_of_the_optimizers_as_the_cpu_does";
    on_gpu(test, Software::Allowed, || {
        let gpu = super::gpu().device;
        for (optimizer, backbone_rate) in [(Kind::Adamw, 1.0), (Kind::Sgd, 0.5)] {
            let settings = TrainingSettings {
                optimizer,
                backbone_rate,
                weight_decay: 0.1,
                ema: 0.5,
                ..TrainingSettings::default()
            };
            let network = |device: &Device| {
                let device = device.clone().autodiff();
                Network::new(NetworkName::MobilenetV3Small, 2, 1, &device)
            };
            let new = || Optimizer::new(&settings);
            let (on_cpu, expected) = stepped(new(), network(&Device::flex()), 0..STEPS);
            let (undisturbed, found) = stepped(new(), network(&gpu), 0..STEPS);
            let compare = |found: &Network, expected: &Network| {
                let (found, expected) = (values(found), values(expected));
                assert!(found.keys().eq(expected.keys()) && found.len() > 100);
                for (path, values) in &found {
                    let off = difference(values, &expected[path]);
                    assert!(off < OFF, "{optimizer:?}: {path} is off by {off:e}");
                }
            };
            compare(&found, &expected);
            let averaged = undisturbed.averaged(found.clone());
            compare(&averaged, &on_cpu.averaged(expected.clone()));
            assert!(values(&averaged) != values(&found));

            // The saved state is that of weights that were moved one by one, and is continued from
            // wherever it was saved.
            let (half, between) = stepped(new(), network(&gpu), 0..2);
            let saved = half.save().unwrap();
            let names = |saved: &[u8]| {
                let tensors = safetensors::SafeTensors::deserialize(saved).unwrap();
                let names = tensors.names().into_iter().map(str::to_owned);
                names.collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(names(&saved), names(&on_cpu.save().unwrap()));
            let restored = new().restore(&saved, &gpu).unwrap();
            let (resumed, found_again) = stepped(restored, between, 2..STEPS);
            let found = values(&found);
            for (path, again) in values(&found_again) {
                let off = difference(&again, &found[&path]);
                assert!(
                    again == found[&path],
                    "{optimizer:?}: {path} is off by {off:e}"
                );
            }
            assert!(resumed.save().unwrap() == undisturbed.save().unwrap());
        }
    });
}
