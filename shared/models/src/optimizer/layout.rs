//! Where parameters lie in one flat tensor.

use std::{collections::BTreeMap, ops::Range};

use burn::tensor::{Device, Tensor};

use crate::ops::Kernels;
#[cfg(feature = "gpu")]
use crate::ops::gpu_part;

/// The number of values that parameters begin at a multiple of. A GPU reads a part of a tensor where
/// it is only if the part begins at a multiple of its alignment, which is 256 bytes or less.
const ALIGNMENT: usize = 64;

/// The most tensors that are joined at a time. A kernel reads as many on every GPU.
const MOST_JOINED: usize = 16;

/// Where parameters lie in one flat tensor. If there is only one, it is the flat tensor.
#[derive(Debug)]
pub(super) struct Layout {
    parameters: Vec<Parameter>,
    /// Zeros for the gaps between them, by the length of the gap.
    zeros: BTreeMap<usize, Tensor<1>>,
}

/// A parameter's path in the network and its number of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) path: String,
    pub(super) len: usize,
}

impl Layout {
    pub(super) fn new(parameters: Vec<Parameter>, device: &Device) -> Self {
        let gaps = parameters.iter().map(Parameter::gap);
        let gaps = gaps.filter(|&gap| gap > 0 && parameters.len() > 1);
        Self {
            zeros: gaps
                .map(|gap| (gap, Tensor::zeros([gap], device)))
                .collect(),
            parameters,
        }
    }

    pub(super) fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The flat tensor of the parameters, each of which is flat itself.
    pub(super) fn join(&self, parameters: Vec<Tensor<1>>) -> Tensor<1> {
        let mut tensors = Vec::with_capacity(2 * parameters.len());
        for (parameter, tensor) in self.parameters.iter().zip(parameters) {
            tensors.push(tensor);
            tensors.extend(self.zeros.get(&parameter.gap()).cloned());
        }
        while tensors.len() > 1 {
            let joined = tensors.chunks(MOST_JOINED);
            let joined = joined.map(|some| Tensor::cat(some.to_vec(), 0));
            tensors = joined.collect();
        }
        tensors.remove(0)
    }

    /// The parameters of a flat tensor.
    pub(super) fn divide(&self, flat: &Tensor<1>) -> Vec<Tensor<1>> {
        match self.parameters.as_slice() {
            [_] => vec![flat.clone()],
            _ => self.ranges().map(|range| part(flat, range)).collect(),
        }
    }

    /// Where each parameter lies in the flat tensor.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let mut start = 0;
        self.parameters.iter().map(move |parameter| {
            let range = start..start + parameter.len;
            start = range.end + parameter.gap();
            range
        })
    }
}

/// A part of a flat tensor, without a copy where the device can read it in place.
fn part(flat: &Tensor<1>, range: Range<usize>) -> Tensor<1> {
    match Kernels::of(&flat.device()) {
        #[cfg(feature = "gpu")]
        Kernels::Gpu => gpu_part(flat.clone(), range.start, range.len()),
        _ => flat.clone().slice([range]),
    }
}

impl Parameter {
    /// The number of values between this parameter and the next.
    fn gap(&self) -> usize {
        self.len.next_multiple_of(ALIGNMENT) - self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor<1>) -> Vec<f32> {
        tensor.clone().try_into_vec_as().unwrap()
    }

    /// A layout of parameters of these lengths, with values that are all different and not zero.
    fn layout(lens: &[usize]) -> (Layout, Vec<Tensor<1>>) {
        let device = Device::flex();
        let parameter = |&len: &usize| Parameter {
            path: String::new(),
            len,
        };
        let layout = Layout::new(lens.iter().map(parameter).collect(), &device);
        let ranges = layout.ranges().map(|range| {
            let values: Vec<f32> = range.map(|at| at as f32 + 1.0).collect();
            Tensor::from_floats(values.as_slice(), &device)
        });
        let tensors = ranges.collect();
        (layout, tensors)
    }

    #[test]
    fn parameters_are_joined_and_divided_again_and_begin_where_a_gpu_can_read() {
        // More than are joined at a time, twice.
        let lens: Vec<usize> = (0..300).map(|at| [64, 1, 24, 200, 128][at % 5]).collect();
        let (layout, parameters) = layout(&lens);
        let flat = layout.join(parameters.clone());
        assert_eq!(flat.dims()[0] % ALIGNMENT, 0);
        assert!(layout.ranges().all(|range| range.start % ALIGNMENT == 0));
        let divided = layout.divide(&flat);
        assert_eq!(divided.len(), lens.len());
        for (found, expected) in divided.iter().zip(&parameters) {
            assert_eq!(values(found), values(expected));
        }
        let sum = |tensors: &[Tensor<1>]| -> f64 {
            let all = tensors.iter().flat_map(values);
            all.map(f64::from).sum()
        };
        assert_eq!(sum(&[flat]), sum(&parameters));
    }

    #[test]
    fn a_parameter_alone_is_the_flat_tensor() {
        let (layout, parameters) = layout(&[3]);
        let flat = layout.join(parameters);
        assert_eq!(values(&flat), [1.0, 2.0, 3.0]);
        assert_eq!(values(&layout.divide(&flat)[0]), [1.0, 2.0, 3.0]);
    }
}
