//! The tensors of a file, as a network takes them.

use std::collections::HashSet;

use half::{bf16, f16};
use maskline_messages::NetworkName;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::BATCHES;
use crate::{
    error::{Mismatch, ModelError},
    init::{Init, RandomValues, TensorSource},
    table::table,
};

/// How the names of the variances of batch norms end.
const VARIANCE: &str = ".running_var";

/// The tensors of a file.
pub struct StateDict<'a> {
    network: NetworkName,
    tensors: SafeTensors<'a>,
    /// The names of the tensors that the network took.
    taken: HashSet<String>,
    mismatch: Mismatch,
}

impl<'a> StateDict<'a> {
    pub fn new(network: NetworkName, bytes: &'a [u8]) -> Result<Self, ModelError> {
        Ok(Self {
            network,
            tensors: SafeTensors::deserialize(bytes)?,
            taken: HashSet::new(),
            mismatch: Mismatch::default(),
        })
    }

    /// The tensor with this name. `None` if it is not one that the network can take, which is
    /// noted, so that an error can name all of them.
    fn fitting(&mut self, name: &str, shape: &[usize]) -> Option<TensorView<'a>> {
        self.taken.insert(name.to_owned());
        let Ok(tensor) = self.tensors.tensor(name) else {
            self.mismatch.missing.push(name.to_owned());
            return None;
        };
        if tensor.shape() != shape {
            let (expected, found) = (shape.to_vec(), tensor.shape().to_vec());
            let shapes = (name.to_owned(), expected, found);
            self.mismatch.shapes.push(shapes);
            return None;
        }
        match all_finite(&tensor) {
            None => {
                let types = (name.to_owned(), tensor.dtype().to_string());
                self.mismatch.types.push(types);
                return None;
            }
            Some(false) => self.mismatch.not_finite.push(name.to_owned()),
            Some(true) => {}
        }
        let is_variance = name.ends_with(VARIANCE);
        if is_variance && floats(&tensor).is_some_and(|all| all.iter().any(|&one| one < 0.0)) {
            self.mismatch.negative.push(name.to_owned());
        }
        Some(tensor)
    }

    /// Refuses a file whose tensors are not those that the network took.
    pub fn finish(mut self) -> Result<(), ModelError> {
        let names = self.tensors.names().into_iter();
        let left = names.filter(|name| !self.taken.contains(*name) && !name.ends_with(BATCHES));
        let mut unknown: Vec<String> = left.map(Into::into).collect();
        unknown.sort();
        self.mismatch.unknown = unknown;
        if self.mismatch.is_empty() {
            return Ok(());
        }
        Err(ModelError::Mismatch {
            network: self.network,
            mismatch: Box::new(self.mismatch),
            fitting: None,
        })
    }
}

impl TensorSource for StateDict<'_> {
    /// Zeros take the place of what does not fit.
    fn values(&mut self, name: &str, shape: &[usize], _: Init) -> Result<Vec<f32>, ModelError> {
        let values = self.fitting(name, shape).and_then(|tensor| floats(&tensor));
        Ok(values.unwrap_or_else(|| zeros(shape)))
    }
}

/// The tensors of a file for the layers before the classifier. Those of the classifier have no
/// place in the network, whatever they are.
pub struct Backbone<'a> {
    file: StateDict<'a>,
    /// The values of the classifier.
    new: RandomValues,
    /// The name of the last layer, with the point after it.
    classifier: String,
}

impl<'a> Backbone<'a> {
    pub fn new(network: NetworkName, bytes: &'a [u8], seed: u64) -> Result<Self, ModelError> {
        Ok(Self {
            file: StateDict::new(network, bytes)?,
            new: RandomValues::new(seed),
            classifier: format!("{}.", table(network).layout.classifier()),
        })
    }

    fn is_new(&self, name: &str) -> bool {
        name.starts_with(&self.classifier)
    }

    pub fn finish(mut self) -> Result<(), ModelError> {
        let names = self.file.tensors.names().into_iter();
        let left_out: Vec<String> = names
            .filter(|name| self.is_new(name))
            .map(Into::into)
            .collect();
        self.file.taken.extend(left_out);
        self.file.finish()
    }
}

impl TensorSource for Backbone<'_> {
    fn values(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Vec<f32>, ModelError> {
        match self.is_new(name) {
            true => self.new.values(name, shape, init),
            false => self.file.values(name, shape, init),
        }
    }
}

/// Looks at the tensors that a network would take of a backbone, and gives it zeros in their place.
/// The system has zeros at hand without writing them, so that this costs no more than the look.
pub struct Look<'a>(pub Backbone<'a>);

impl TensorSource for Look<'_> {
    fn values(&mut self, name: &str, shape: &[usize], _: Init) -> Result<Vec<f32>, ModelError> {
        if !self.0.is_new(name) {
            self.0.file.fitting(name, shape);
        }
        Ok(zeros(shape))
    }
}

fn zeros(shape: &[usize]) -> Vec<f32> {
    vec![0.0; shape.iter().product()]
}

/// The values of a tensor. `None` if it is of no type that weights come in.
fn floats(tensor: &TensorView) -> Option<Vec<f32>> {
    let bytes = tensor.data();
    let halves = || bytes.as_chunks().0.iter().copied();
    Some(match tensor.dtype() {
        Dtype::F32 => {
            let (floats, _) = bytes.as_chunks();
            floats.iter().copied().map(f32::from_le_bytes).collect()
        }
        Dtype::F64 => {
            let (doubles, _) = bytes.as_chunks();
            let doubles = doubles.iter().copied().map(f64::from_le_bytes);
            doubles.map(|double| double as f32).collect()
        }
        Dtype::F16 => halves().map(|x| f16::from_le_bytes(x).to_f32()).collect(),
        Dtype::BF16 => halves().map(|x| bf16::from_le_bytes(x).to_f32()).collect(),
        _ => return None,
    })
}

/// Whether all values of a tensor are finite. `None` if it is of no type that weights come in.
fn all_finite(tensor: &TensorView) -> Option<bool> {
    let bytes = tensor.data();
    let mut halves = bytes.as_chunks().0.iter().copied();
    Some(match tensor.dtype() {
        Dtype::F32 => {
            let (floats, _) = bytes.as_chunks();
            let mut floats = floats.iter().copied().map(f32::from_le_bytes);
            floats.all(f32::is_finite)
        }
        Dtype::F64 => {
            let (doubles, _) = bytes.as_chunks();
            let mut doubles = doubles.iter().copied().map(f64::from_le_bytes);
            doubles.all(|double| (double as f32).is_finite())
        }
        Dtype::F16 => halves.all(|x| f16::from_le_bytes(x).is_finite()),
        Dtype::BF16 => halves.all(|x| bf16::from_le_bytes(x).is_finite()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_every_size_are_read() {
        let doubles: Vec<u8> = [0.5f64, -3.0]
            .into_iter()
            .flat_map(f64::to_le_bytes)
            .collect();
        let halves: Vec<u8> = [0.5f32, -3.0]
            .into_iter()
            .flat_map(|value| f16::from_f32(value).to_le_bytes())
            .collect();
        for (dtype, bytes) in [(Dtype::F64, doubles), (Dtype::F16, halves)] {
            let tensor = TensorView::new(dtype, vec![2], &bytes).unwrap();
            assert_eq!(floats(&tensor), Some(vec![0.5, -3.0]));
            assert_eq!(all_finite(&tensor), Some(true));
        }
        // It is more than any float.
        let bytes = 1e300f64.to_le_bytes();
        let large = TensorView::new(Dtype::F64, vec![1], &bytes).unwrap();
        assert_eq!(all_finite(&large), Some(false));
        let count = 7i64.to_le_bytes();
        let count = TensorView::new(Dtype::I64, vec![1], &count).unwrap();
        assert_eq!((floats(&count), all_finite(&count)), (None, None));
    }
}
