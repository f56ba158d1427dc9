//! Where a step goes: AdamW, or SGD with Nesterov momentum.
//!
//! Burn has both, but loads their state on its default device, which is a GPU
//! where the program can use one, whether or not the machine has it. Here the
//! state stays with the weights, and is named after them, so that it fits the
//! network after a restart.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use burn::{
    module::{Module, ModuleMapper, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use maskline_messages::{Optimizer as Kind, TrainingSettings};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

const STEPS: &str = "steps";

/// Moves the weights of a network against their gradients.
///
/// Weights decay; biases and the batch norms' scales and shifts, which have one
/// dimension only, do not.
pub struct Optimizer {
    rule: Rule,
    weight_decay: f64,
    /// Steps done.
    steps: u32,
    /// For each weight, by its path in the network, what its rule remembers, flat.
    memory: HashMap<String, Vec<Tensor<1>>>,
}

#[derive(Clone, Copy)]
enum Rule {
    /// Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019).
    /// Remembers the means of the gradient and of its square.
    AdamW {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
    },
    /// As PyTorch does it: remembers a velocity, and decays through the gradient.
    Nesterov { momentum: f64 },
}

impl Optimizer {
    pub fn new(settings: &TrainingSettings) -> Self {
        let rule = match settings.optimizer {
            Kind::Adamw => Rule::AdamW {
                beta_1: 0.9,
                beta_2: 0.999,
                epsilon: 1e-8,
            },
            Kind::Sgd => Rule::Nesterov { momentum: 0.9 },
        };
        Self {
            rule,
            weight_decay: settings.weight_decay.into(),
            steps: 0,
            memory: HashMap::new(),
        }
    }

    /// One step at this learning rate.
    pub fn step<M: Module>(&mut self, rate: f64, network: M, gradients: GradientsParams) -> M {
        self.steps += 1;
        network.map(&mut Stepping {
            optimizer: self,
            rate,
            gradients,
            path: vec![],
        })
    }

    fn moved(&mut self, path: String, rate: f64, weight: Weight) -> Tensor<1> {
        let Weight {
            value,
            gradient,
            decays,
        } = weight;
        let decay = if decays { self.weight_decay } else { 0.0 };
        let known = self.memory.remove(&path);
        let (value, memory) = match self.rule {
            Rule::AdamW {
                beta_1,
                beta_2,
                epsilon,
            } => {
                let (squares, mean, mean_square);
                squares = gradient.clone().powi_scalar(2);
                match known.and_then(|known| <[_; 2]>::try_from(known).ok()) {
                    Some([first, second]) => {
                        mean = first * beta_1 + gradient * (1.0 - beta_1);
                        mean_square = second * beta_2 + squares * (1.0 - beta_2);
                    }
                    None => {
                        mean = gradient * (1.0 - beta_1);
                        mean_square = squares * (1.0 - beta_2);
                    }
                }
                // Both means began at 0, and are too small by these.
                let steps = f64::from(self.steps);
                let correction = 1.0 - beta_1.powf(steps);
                let square_correction = (1.0 - beta_2.powf(steps)).sqrt();
                let spread = mean_square.clone().sqrt() / square_correction + epsilon;
                let towards = mean.clone() / spread * (rate / correction);
                let kept = if decay == 0.0 {
                    value
                } else {
                    value * (1.0 - rate * decay)
                };
                (kept - towards, vec![mean, mean_square])
            }
            Rule::Nesterov { momentum } => {
                let gradient = if decay == 0.0 {
                    gradient
                } else {
                    gradient + value.clone() * decay
                };
                let velocity = match known.and_then(|known| <[_; 1]>::try_from(known).ok()) {
                    Some([velocity]) => velocity * momentum + gradient.clone(),
                    None => gradient.clone(),
                };
                let towards = gradient + velocity.clone() * momentum;
                (value - towards * rate, vec![velocity])
            }
        };
        self.memory.insert(path, memory);
        value
    }

    /// The state, to go on from later with [`Optimizer::restore`]: a safetensors
    /// file.
    pub fn save(&self) -> Result<Vec<u8>> {
        let mut values = BTreeMap::new();
        for (path, memory) in &self.memory {
            for (index, tensor) in memory.iter().enumerate() {
                let floats: Vec<f32> = tensor.clone().try_into_vec_as()?;
                let bytes: Vec<u8> = floats.into_iter().flat_map(f32::to_le_bytes).collect();
                values.insert(format!("{path}/{index}"), bytes);
            }
        }
        let views = values.iter().map(|(name, bytes)| {
            let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
            view.map(|view| (name.as_str(), view))
        });
        let views: Vec<_> = views.collect::<Result<_, _>>()?;
        let steps = HashMap::from([(STEPS.to_owned(), self.steps.to_string())]);
        Ok(safetensors::serialize(views, Some(steps))?)
    }

    /// Takes on a state that was saved, on the device where the weights are.
    pub fn restore(mut self, saved: &[u8], device: &Device) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(saved)?;
        let steps = metadata.metadata().as_ref().and_then(|m| m.get(STEPS));
        self.steps = steps
            .context("it does not say how many steps were done")?
            .parse()?;
        let tensors = SafeTensors::deserialize(saved)?;
        let mut named: BTreeMap<_, _> = tensors.tensors().into_iter().collect();
        let paths: Vec<String> = named
            .keys()
            .filter_map(|name| Some(name.strip_suffix("/0")?.to_owned()))
            .collect();
        for path in paths {
            let mut memory = vec![];
            while let Some(view) = named.remove(&format!("{path}/{}", memory.len())) {
                let data = TensorData::new(floats(view.data()), view.shape().to_vec());
                memory.push(Tensor::from_data(data, device));
            }
            self.memory.insert(path, memory);
        }
        ensure!(named.is_empty(), "it has tensors of no weight");
        Ok(self)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (floats, _) = bytes.as_chunks::<4>();
    floats
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}

/// A weight with the gradient of the loss by it, both flat, without a history.
struct Weight {
    value: Tensor<1>,
    gradient: Tensor<1>,
    decays: bool,
}

/// One step's way through the network.
struct Stepping<'a> {
    optimizer: &'a mut Optimizer,
    rate: f64,
    gradients: GradientsParams,
    path: Vec<String>,
}

impl ModuleMapper for Stepping<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Running statistics have no gradient, and stay.
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let path = self.path.join(".");
        param.map(|tensor| {
            let (shape, learns) = (tensor.dims(), tensor.is_require_grad());
            let count: usize = shape.iter().product();
            let weight = Weight {
                value: tensor.inner().reshape([count]),
                gradient: gradient.reshape([count]),
                decays: D > 1,
            };
            let moved = self.optimizer.moved(path, self.rate, weight);
            Tensor::from_inner(moved.reshape(shape)).set_require_grad(learns)
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        nn::{Linear, LinearConfig},
        optim::{AdamWConfig, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    };

    use super::*;
    use crate::fixtures::alone_blocking;

    fn settings(optimizer: Kind, weight_decay: f32) -> TrainingSettings {
        TrainingSettings {
            optimizer,
            weight_decay,
            ..TrainingSettings::default()
        }
    }

    fn layer(device: &Device) -> Linear {
        let layer = LinearConfig::new(3, 2).init(device);
        let values = |count: usize| (0..count).map(|i| i as f32 * 0.3 - 0.7).collect::<Vec<_>>();
        let weight = Tensor::from_data(TensorData::new(values(6), [3, 2]), device);
        let bias = Tensor::from_data(TensorData::new(values(2), [2]), device);
        Linear {
            weight: Param::initialized(layer.weight.id, weight.require_grad()),
            bias: layer
                .bias
                .map(|old| Param::initialized(old.id, bias.require_grad())),
        }
    }

    /// The gradients of a loss that changes from step to step.
    fn gradients(layer: &Linear, step: usize, device: &Device) -> GradientsParams {
        let input: Vec<f32> = (0..12)
            .map(|i| ((i * 7 + step * 5) % 11) as f32 / 5.0 - 1.0)
            .collect();
        let input = Tensor::<2>::from_data(TensorData::new(input, [4, 3]), device);
        let loss = layer.forward(input).powi_scalar(2).sum();
        GradientsParams::from_grads(loss.backward(), layer)
    }

    fn values(layer: &Linear) -> Vec<f32> {
        let mut values: Vec<f32> = layer.weight.val().inner().try_into_vec_as().unwrap();
        let bias = layer.bias.as_ref().unwrap().val().inner();
        values.extend(bias.try_into_vec_as::<f32>().unwrap());
        values
    }

    fn assert_near(ours: &[f32], theirs: &[f32]) {
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
        }
    }

    #[test]
    fn without_decay_both_rules_do_what_burns_do() {
        let _alone = alone_blocking();
        let device = Device::flex().autodiff();
        let momentum = MomentumConfig::new()
            .with_dampening(0.0)
            .with_nesterov(true);
        let cases = [
            (
                Kind::Adamw,
                AdamWConfig::new()
                    .with_epsilon(1e-8)
                    .with_weight_decay(0.0)
                    .init(),
            ),
            (
                Kind::Sgd,
                SgdConfig::new().with_momentum(Some(momentum)).init(),
            ),
        ];
        for (kind, mut burns) in cases {
            let mut optimizer = Optimizer::new(&settings(kind, 0.0));
            let (mut ours, mut theirs) = (layer(&device), layer(&device));
            for step in 0..20 {
                let gradient = gradients(&ours, step, &device);
                ours = optimizer.step(0.01, ours, gradient);
                let gradient = gradients(&theirs, step, &device);
                theirs = burns.step(0.01, theirs, gradient);
            }
            assert_near(&values(&ours), &values(&theirs));
            assert_ne!(values(&ours), values(&layer(&device)));
        }
    }

    #[test]
    fn weights_decay_and_biases_do_not() {
        let _alone = alone_blocking();
        let device = Device::flex().autodiff();
        let decay = WeightDecayConfig::new(0.5);
        let momentum = MomentumConfig::new()
            .with_dampening(0.0)
            .with_nesterov(true);
        let sgd = SgdConfig::new()
            .with_weight_decay(Some(decay))
            .with_momentum(Some(momentum));
        let cases = [
            (
                Kind::Adamw,
                AdamWConfig::new()
                    .with_epsilon(1e-8)
                    .with_weight_decay(0.5)
                    .init(),
            ),
            (Kind::Sgd, sgd.init()),
        ];
        for (kind, mut burns) in cases {
            let moved = |weight_decay| {
                let start = layer(&device);
                let gradient = gradients(&start, 0, &device);
                Optimizer::new(&settings(kind, weight_decay)).step(0.1, start, gradient)
            };
            let start = layer(&device);
            let gradient = gradients(&start, 0, &device);
            let theirs = burns.step(0.1, start, gradient);
            let (ours, plain) = (moved(0.5), moved(0.0));
            assert_near(&values(&ours)[..6], &values(&theirs)[..6]);
            assert_eq!(values(&ours)[6..], values(&plain)[6..]);
        }
    }

    #[test]
    fn without_a_gradient_nothing_moves() {
        let _alone = alone_blocking();
        let device = Device::flex().autodiff();
        let mut optimizer = Optimizer::new(&settings(Kind::Adamw, 0.5));
        let still = optimizer.step(0.1, layer(&device), GradientsParams::new());
        assert_eq!(values(&still), values(&layer(&device)));
    }

    #[test]
    fn goes_on_from_a_saved_state_as_if_nothing_had_been() {
        let _alone = alone_blocking();
        let device = Device::flex().autodiff();
        for kind in [Kind::Adamw, Kind::Sgd] {
            let settings = settings(kind, 0.01);
            let mut optimizer = Optimizer::new(&settings);
            let mut layer = layer(&device);
            for step in 0..5 {
                let gradient = gradients(&layer, step, &device);
                layer = optimizer.step(0.01, layer, gradient);
            }
            let saved = optimizer.save().unwrap();
            let mut restored = Optimizer::new(&settings)
                .restore(&saved, &device.clone().inner())
                .unwrap();
            let gradient = gradients(&layer, 5, &device);
            let expected = optimizer.step(0.01, layer.clone(), gradient);
            let gradient = gradients(&layer, 5, &device);
            let found = restored.step(0.01, layer, gradient);
            assert_eq!(values(&found), values(&expected));
        }
    }

    #[test]
    fn a_state_that_is_none_is_refused() {
        let device = Device::flex();
        let optimizer = Optimizer::new(&TrainingSettings::default());
        assert!(optimizer.restore(b"not a file", &device).is_err());
    }
}
