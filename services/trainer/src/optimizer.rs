//! The optimizers: AdamW, and SGD with Nesterov momentum.
//!
//! Burn has both, and this module goes when their saved state can be loaded on a chosen
//! device. Burn 0.22 loads it on its default device, which is a GPU in every program that
//! is built for one, whether or not the machine has one. Here the state stays on the device
//! of the weights. It is named after them, so that it fits the network after a restart.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use burn::{
    module::{Module, ModuleMapper, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use maskline_messages::{Optimizer as Kind, TrainingSettings};
use maskline_models::device;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// The entry of the saved state's metadata that holds the number of steps.
const STEPS: &str = "steps";

/// The last part of the name of a weight's mean in the saved state.
const MEAN: &str = "mean";

/// The name of the last layer in a network. The learning rate is its own.
const CLASSIFIER: &str = "classifier";

/// Moves the weights of a network against their gradients.
///
/// Weight decay applies to tensors of several dimensions only, and so neither to biases nor
/// to the scales and shifts of batch norms.
pub(crate) struct Optimizer {
    rule: Rule,
    weight_decay: f64,
    /// The number of steps done.
    steps: u32,
    /// The learning rate of the layers before the classifier, as a share of that of the classifier.
    backbone_rate: f64,
    /// The state of each weight, by its path in the network. Its tensors are flat.
    state: HashMap<String, Vec<Tensor<1>>>,
    /// How much of a weight's mean stays in a step. 0 if there are no means.
    ema: f64,
    /// The mean of each weight over the steps, by its path in the network.
    means: HashMap<String, Tensor<1>>,
}

/// How a step moves a weight.
#[derive(Clone, Copy)]
enum Rule {
    /// Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019). The state of a
    /// weight is the running means of its gradient and of the square of its gradient.
    AdamW {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
    },
    /// Nesterov momentum as in PyTorch: the state of a weight is its velocity, and weight
    /// decay is a part of the gradient.
    Nesterov { momentum: f64 },
}

impl Optimizer {
    pub(crate) fn new(settings: &TrainingSettings) -> Self {
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
            backbone_rate: settings.backbone_rate.into(),
            state: HashMap::new(),
            ema: settings.ema.into(),
            means: HashMap::new(),
        }
    }

    /// Returns the network after one step with this learning rate.
    pub(crate) fn step<M: Module>(
        &mut self,
        rate: f64,
        network: M,
        gradients: GradientsParams,
    ) -> M {
        self.steps += 1;
        network.map(&mut Step {
            optimizer: self,
            rate,
            gradients,
            path: vec![],
        })
    }

    /// Returns the values of a weight after one step.
    fn moved(&mut self, path: String, rate: f64, weight: Weight) -> Tensor<1> {
        let Weight {
            value,
            gradient,
            decays,
        } = weight;
        let decay = if decays { self.weight_decay } else { 0.0 };
        let state = self.state.remove(&path);
        let (value, state) = match self.rule {
            Rule::AdamW {
                beta_1,
                beta_2,
                epsilon,
            } => {
                let (squares, mean, mean_square);
                squares = gradient.clone().powi_scalar(2);
                match state.and_then(|state| <[_; 2]>::try_from(state).ok()) {
                    Some([first, second]) => {
                        mean = first * beta_1 + gradient * (1.0 - beta_1);
                        mean_square = second * beta_2 + squares * (1.0 - beta_2);
                    }
                    None => {
                        mean = gradient * (1.0 - beta_1);
                        mean_square = squares * (1.0 - beta_2);
                    }
                }
                // Both means start at 0 and are too small by these factors.
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
                let velocity = match state.and_then(|state| <[_; 1]>::try_from(state).ok()) {
                    Some([velocity]) => velocity * momentum + gradient.clone(),
                    None => gradient.clone(),
                };
                let towards = gradient + velocity.clone() * momentum;
                (value - towards * rate, vec![velocity])
            }
        };
        if self.ema > 0.0 {
            self.average(path.clone(), value.clone());
        }
        self.state.insert(path, state);
        value
    }

    /// Moves the mean of a weight towards its value. Of the first steps less stays, because the
    /// weights that they begin from are not worth remembering.
    fn average(&mut self, path: String, value: Tensor<1>) {
        let steps = f64::from(self.steps);
        let stays = self.ema.min((1.0 + steps) / (10.0 + steps));
        let mean = match self.means.remove(&path) {
            Some(mean) => mean * stays + value * (1.0 - stays),
            None => value,
        };
        self.means.insert(path, mean);
    }

    /// The network with the mean of each weight in its place (Polyak and Juditsky, 1992), or the
    /// network as it is if there are no means.
    pub(crate) fn averaged<M: Module>(&self, network: M) -> M {
        if self.means.is_empty() {
            return network;
        }
        network.map(&mut Averaged {
            means: &self.means,
            path: vec![],
        })
    }

    /// Returns the state as a safetensors file, for [`Optimizer::restore`].
    pub(crate) fn save(&self) -> Result<Vec<u8>> {
        let mut values = BTreeMap::new();
        for (path, state) in &self.state {
            for (index, tensor) in state.iter().enumerate() {
                values.insert(format!("{path}/{index}"), bytes(tensor)?);
            }
        }
        for (path, mean) in &self.means {
            values.insert(format!("{path}/{MEAN}"), bytes(mean)?);
        }
        let views = values.iter().map(|(name, bytes)| {
            let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
            view.map(|view| (name.as_str(), view))
        });
        let views: Vec<_> = views.collect::<Result<_, _>>()?;
        let steps = HashMap::from([(STEPS.to_owned(), self.steps.to_string())]);
        Ok(safetensors::serialize(views, Some(steps))?)
    }

    /// Takes over a state that [`Optimizer::save`] returned. `device` is that of the weights.
    ///
    /// # Errors
    /// If `saved` is not such a state.
    pub(crate) fn restore(mut self, saved: &[u8], device: &Device) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(saved)?;
        let steps = metadata.metadata().as_ref().and_then(|m| m.get(STEPS));
        self.steps = steps.context("the number of steps is missing")?.parse()?;
        let tensors = SafeTensors::deserialize(saved)?;
        let mut named: BTreeMap<_, _> = tensors.tensors().into_iter().collect();
        let paths: Vec<String> = named
            .keys()
            .filter_map(|name| Some(name.strip_suffix("/0")?.to_owned()))
            .collect();
        for path in paths {
            let mut state = vec![];
            let tensor = |view: TensorView| {
                let data = TensorData::new(floats(view.data()), view.shape().to_vec());
                Tensor::from_data(data, device)
            };
            while let Some(view) = named.remove(&format!("{path}/{}", state.len())) {
                state.push(tensor(view));
            }
            if let Some(view) = named.remove(&format!("{path}/{MEAN}")) {
                self.means.insert(path.clone(), tensor(view));
            }
            self.state.insert(path, state);
        }
        ensure!(named.is_empty(), "some tensors belong to no weight");
        Ok(self)
    }
}

/// The values of a tensor, little-endian.
fn bytes(tensor: &Tensor<1>) -> Result<Vec<u8>> {
    let floats = device::read(tensor.clone())?;
    Ok(floats.into_iter().flat_map(f32::to_le_bytes).collect())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (floats, _) = bytes.as_chunks::<4>();
    floats
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}

/// A weight and its gradient, both flat and without autodiff.
struct Weight {
    value: Tensor<1>,
    gradient: Tensor<1>,
    /// `true` if weight decay applies to it.
    decays: bool,
}

/// Applies one step to every weight of a network.
struct Step<'a> {
    optimizer: &'a mut Optimizer,
    rate: f64,
    gradients: GradientsParams,
    path: Vec<String>,
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Running statistics have no gradient and stay as they are.
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let is_classifier = self.path.first().is_some_and(|name| name == CLASSIFIER);
        let rate = match is_classifier {
            true => self.rate,
            false => self.rate * self.optimizer.backbone_rate,
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
            let moved = self.optimizer.moved(path, rate, weight);
            Tensor::from_inner(moved.reshape(shape)).set_require_grad(learns)
        })
    }
}

/// Puts the mean of each weight in its place.
struct Averaged<'a> {
    means: &'a HashMap<String, Tensor<1>>,
    path: Vec<String>,
}

impl ModuleMapper for Averaged<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(mean) = self.means.get(&self.path.join(".")) else {
            return param;
        };
        param.map(|tensor| {
            let (shape, learns) = (tensor.dims(), tensor.is_require_grad());
            Tensor::from_inner(mean.clone().reshape(shape)).set_require_grad(learns)
        })
    }
}

#[cfg(test)]
mod tests;
