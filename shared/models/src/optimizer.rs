//! The optimizers: AdamW, and SGD with Nesterov momentum.
//!
//! Burn has both, and this module goes when their saved state can be loaded on a chosen
//! device. Burn 0.22 loads it on its default device, which is a GPU in every program that
//! is built for one, whether or not the machine has one. Here the state stays on the device
//! of the weights. It is named after them, so that it fits the network after a restart.
//!
//! On a GPU a step costs a few kernels for each tensor that it moves, however small. So all weights
//! that are moved alike are moved as one flat tensor there ([`layout`]). On the CPU, where joining
//! them would only copy, each is moved by itself.

#[cfg(feature = "gpu")]
mod gpu;
mod layout;
mod rule;

use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use maskline_messages::{Optimizer as Kind, TrainingSettings};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use self::{
    layout::{Layout, Parameter},
    rule::{Rule, StepOfRule},
};
use crate::{device, error::ModelError, ops::Kernels};

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
pub struct Optimizer {
    rule: Rule,
    weight_decay: f64,
    /// The number of steps done.
    steps: u32,
    /// The learning rate of the layers before the classifier, as a share of that of the classifier.
    backbone_rate: f64,
    /// How much of a weight's mean stays in a step. 0 if there are no means.
    ema: f64,
    groups: BTreeMap<Key, Group>,
    /// The state of weights that are in no group yet, by their paths in the network.
    restored: HashMap<String, State>,
    /// Each weight is moved by itself, by Burn's operations, on a GPU, too, to compare them.
    burn_only: bool,
}

/// How weights are moved. Those that are moved alike can be in one group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// Whether the learning rate is that of the layers before the classifier.
    before_classifier: bool,
    /// Whether weight decay applies.
    decays: bool,
    /// The path of the only weight of the group, if it is to be alone.
    alone: Option<String>,
}

/// Weights that are moved as one flat tensor.
struct Group {
    layout: Layout,
    state: State,
}

/// What is kept of a weight, or of all weights of a group, from step to step: flat tensors.
#[derive(Clone, Default)]
struct State {
    /// These belong to the rule. There are none before the first step.
    moments: Vec<Tensor<1>>,
    /// The mean of the weight over the steps.
    mean: Option<Tensor<1>>,
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
            backbone_rate: settings.backbone_rate.into(),
            ema: settings.ema.into(),
            groups: BTreeMap::new(),
            restored: HashMap::new(),
            burn_only: false,
        }
    }

    /// The same optimizer, which moves each weight by itself, by Burn's operations.
    pub fn with_burn_kernels(self) -> Self {
        Self {
            burn_only: true,
            ..self
        }
    }

    /// Returns the network after one step with this learning rate.
    pub fn step<M: Module>(&mut self, rate: f64, network: M, gradients: GradientsParams) -> M {
        self.steps += 1;
        let mut found = Found {
            gradients,
            classifier_apart: self.backbone_rate != 1.0,
            all_alone: self.burn_only,
            path: vec![],
            weights: BTreeMap::new(),
        };
        network.visit(&mut found);
        let mut moved = HashMap::new();
        for (key, weights) in found.weights {
            let rate = match key.before_classifier {
                true => rate * self.backbone_rate,
                false => rate,
            };
            let decay = if key.decays { self.weight_decay } else { 0.0 };
            let Weights {
                parameters,
                values,
                gradients,
            } = weights;
            let mut group = self.group(&key, parameters, &values);
            let value = group.layout.join(values);
            let gradient = group.layout.join(gradients);
            let value = self.moved(&mut group.state, rate, decay, value, gradient);
            let paths = group.layout.parameters().iter();
            let paths = paths.map(|parameter| parameter.path.clone());
            moved.extend(paths.zip(group.layout.divide(&value)));
            self.groups.insert(key, group);
        }
        network.map(&mut Replace {
            values: &moved,
            path: vec![],
        })
    }

    /// Takes out the group of these weights, with the state that they had.
    fn group(&mut self, key: &Key, parameters: Vec<Parameter>, values: &[Tensor<1>]) -> Group {
        match self.groups.remove(key) {
            Some(group) if group.layout.parameters() == parameters => return group,
            // It has other weights now.
            Some(group) => self.restored.extend(group.states()),
            None => {}
        }
        let layout = Layout::new(parameters, &values[0].device());
        let state = self.restored_state(&layout, values);
        Group { layout, state }
    }

    /// Takes out the states of these weights, and joins them. Weights without a state get that of
    /// the first step.
    fn restored_state(&mut self, layout: &Layout, values: &[Tensor<1>]) -> State {
        let parameters = layout.parameters().iter();
        let states = parameters.map(|parameter| self.restored.remove(&parameter.path));
        let states: Vec<State> = states.map(Option::unwrap_or_default).collect();
        let moments = states.iter().map(|state| state.moments.len()).max();
        let moment = |index: usize| {
            let of = states.iter().zip(values);
            let of = of.map(|(state, value)| {
                let moment = state.moments.get(index).cloned();
                moment.unwrap_or_else(|| value.zeros_like())
            });
            layout.join(of.collect())
        };
        let has_means = states.iter().any(|state| state.mean.is_some());
        let mean = has_means.then(|| {
            let of = states.iter().zip(values);
            let of = of.map(|(state, value)| state.mean.clone().unwrap_or_else(|| value.clone()));
            layout.join(of.collect())
        });
        State {
            moments: (0..moments.unwrap_or(0)).map(moment).collect(),
            mean,
        }
    }

    /// Returns the values of weights after one step.
    fn moved(
        &self,
        state: &mut State,
        rate: f64,
        decay: f64,
        value: Tensor<1>,
        gradient: Tensor<1>,
    ) -> Tensor<1> {
        let before = std::mem::take(&mut state.moments);
        let kernels = match self.burn_only {
            true => Kernels::Burn,
            false => Kernels::of(&value.device()),
        };
        let step = StepOfRule {
            kernels,
            steps: self.steps,
            rate,
            decay,
        };
        let (value, moments) = self.rule.moved(step, value, gradient, before);
        state.moments = moments;
        if self.ema > 0.0 {
            state.mean = Some(self.averaged_with(state.mean.take(), value.clone()));
        }
        value
    }

    /// The mean of weights, moved towards their values. Of the first steps less stays, because the
    /// weights that they begin from are not worth remembering.
    fn averaged_with(&self, mean: Option<Tensor<1>>, value: Tensor<1>) -> Tensor<1> {
        let steps = f64::from(self.steps);
        let stays = self.ema.min((1.0 + steps) / (10.0 + steps));
        match mean {
            Some(mean) => mean * stays + value * (1.0 - stays),
            None => value,
        }
    }

    /// The network with the mean of each weight in its place (Polyak and Juditsky, 1992), or the
    /// network as it is if there are no means.
    pub fn averaged<M: Module>(&self, network: M) -> M {
        let mut means = HashMap::new();
        for (path, state) in &self.restored {
            means.extend(state.mean.clone().map(|mean| (path.clone(), mean)));
        }
        for group in self.groups.values() {
            let Some(mean) = &group.state.mean else {
                continue;
            };
            let paths = group.layout.parameters().iter();
            let paths = paths.map(|parameter| parameter.path.clone());
            means.extend(paths.zip(group.layout.divide(mean)));
        }
        if means.is_empty() {
            return network;
        }
        network.map(&mut Replace {
            values: &means,
            path: vec![],
        })
    }

    /// Returns the state as a safetensors file, for [`Optimizer::restore`].
    ///
    /// # Errors
    /// If the device can't compute or return it, see [`device::read`].
    pub fn save(&self) -> Result<Vec<u8>, ModelError> {
        let mut values = BTreeMap::new();
        for (path, state) in &self.restored {
            for (name, tensor) in state.named() {
                let read = device::read(tensor.clone())?;
                values.insert(format!("{path}/{name}"), bytes(&read));
            }
        }
        for group in self.groups.values() {
            for (name, tensor) in group.state.named() {
                let read = device::read(tensor.clone())?;
                let parameters = group.layout.parameters().iter();
                for (parameter, range) in parameters.zip(group.layout.ranges()) {
                    values.insert(format!("{}/{name}", parameter.path), bytes(&read[range]));
                }
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

    /// Takes over a state that [`Optimizer::save`] returned. `device` is that of the weights.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`] or [`ModelError::OptimizerState`] if `saved` is not such a state.
    pub fn restore(mut self, saved: &[u8], device: &Device) -> Result<Self, ModelError> {
        let (_, metadata) = SafeTensors::read_metadata(saved)?;
        let steps = metadata.metadata().as_ref().and_then(|m| m.get(STEPS));
        let steps = steps.and_then(|steps| steps.parse().ok());
        let no_steps = ModelError::OptimizerState("the number of steps is missing");
        self.steps = steps.ok_or(no_steps)?;
        let tensors = SafeTensors::deserialize(saved)?;
        let mut named: BTreeMap<_, _> = tensors.tensors().into_iter().collect();
        let paths: Vec<String> = named
            .keys()
            .filter_map(|name| Some(name.strip_suffix("/0")?.to_owned()))
            .collect();
        let tensor = |view: TensorView| {
            let data = TensorData::new(floats(view.data()), view.shape().to_vec());
            Tensor::from_data(data, device)
        };
        for path in paths {
            let mut state = State::default();
            while let Some(view) = named.remove(&format!("{path}/{}", state.moments.len())) {
                state.moments.push(tensor(view));
            }
            state.mean = named.remove(&format!("{path}/{MEAN}")).map(tensor);
            self.restored.insert(path, state);
        }
        match named.is_empty() {
            true => Ok(self),
            false => Err(ModelError::OptimizerState(
                "some tensors belong to no weight",
            )),
        }
    }
}

impl State {
    /// Its tensors, by the last parts of their names in the saved state.
    fn named(&self) -> impl Iterator<Item = (String, &Tensor<1>)> {
        let moments = self.moments.iter().enumerate();
        let moments = moments.map(|(index, moment)| (index.to_string(), moment));
        moments.chain(self.mean.iter().map(|mean| (MEAN.to_owned(), mean)))
    }
}

impl Group {
    /// The state of each weight, by its path.
    fn states(self) -> Vec<(String, State)> {
        let parameters = self.layout.parameters().iter();
        let mut states: Vec<_> = parameters
            .map(|parameter| (parameter.path.clone(), State::default()))
            .collect();
        for moment in &self.state.moments {
            for ((_, state), part) in states.iter_mut().zip(self.layout.divide(moment)) {
                state.moments.push(part);
            }
        }
        if let Some(mean) = &self.state.mean {
            for ((_, state), part) in states.iter_mut().zip(self.layout.divide(mean)) {
                state.mean = Some(part);
            }
        }
        states
    }
}

/// Little-endian.
fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (floats, _) = bytes.as_chunks::<4>();
    floats
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}

/// Weights of a group with their gradients, all flat and without autodiff.
#[derive(Default)]
struct Weights {
    parameters: Vec<Parameter>,
    values: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
}

/// The weights of a network that have a gradient, by how they are moved.
struct Found {
    gradients: GradientsParams,
    /// Whether the classifier has another learning rate than the layers before it.
    classifier_apart: bool,
    /// Whether each weight is alone, whatever its device.
    all_alone: bool,
    path: Vec<String>,
    weights: BTreeMap<Key, Weights>,
}

impl ModuleVisitor for Found {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // Running statistics have no gradient and stay as they are.
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return;
        };
        let value = param.val().inner();
        let len = value.dims().iter().product();
        let path = self.path.join(".");
        let is_classifier = self.path.first().is_some_and(|name| name == CLASSIFIER);
        let is_alone = self.all_alone || Kernels::of(&value.device()) == Kernels::Own;
        let key = Key {
            before_classifier: self.classifier_apart && !is_classifier,
            decays: D > 1,
            alone: is_alone.then(|| path.clone()),
        };
        let weights = self.weights.entry(key).or_default();
        weights.parameters.push(Parameter { path, len });
        weights.values.push(value.reshape([len]));
        weights.gradients.push(gradient.reshape([len]));
    }
}

/// Puts other values in the place of weights.
struct Replace<'a> {
    /// Flat and without autodiff, by the paths of the weights.
    values: &'a HashMap<String, Tensor<1>>,
    path: Vec<String>,
}

impl ModuleMapper for Replace<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.values.get(&self.path.join(".")) else {
            return param;
        };
        param.map(|tensor| {
            let (shape, learns) = (tensor.dims(), tensor.is_require_grad());
            Tensor::from_inner(value.clone().reshape(shape)).set_require_grad(learns)
        })
    }
}

#[cfg(test)]
mod tests;
