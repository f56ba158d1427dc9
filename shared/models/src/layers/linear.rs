//! The fully connected layers of the classifier.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, TensorData},
};
use maskline_messages::NetworkName;

use crate::{
    error::ModelError,
    init::{Builder, Init},
};

/// A fully connected layer.
#[derive(Module, Debug)]
pub struct Linear {
    pub name: String,
    /// `[to, from]`
    pub weight: Param<Tensor<2>>,
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    pub fn new(
        builder: &mut Builder,
        name: String,
        from: usize,
        to: usize,
        init: Init,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), [to, from], init)?,
            bias: builder.parameter(&format!("{name}.bias"), [to], Init::Constant(0.0))?,
            name,
        })
    }

    /// The same layer with other values, `[to, from]` and `[to]`. `network` is named in the error
    /// if the numbers of values are others.
    pub fn with_values(
        self,
        weight: Vec<f32>,
        bias: Vec<f32>,
        network: NetworkName,
    ) -> Result<Self, ModelError> {
        let [to, from] = self.weight.dims();
        for (expected, found) in [(to * from, weight.len()), (to, bias.len())] {
            if found != expected {
                return Err(ModelError::LastLayer {
                    network,
                    expected,
                    found,
                });
            }
        }
        let device = self.weight.val().device();
        let weight = Tensor::from_data(TensorData::new(weight, [to, from]), &device);
        let bias = Tensor::from_data(TensorData::new(bias, [to]), &device);
        Ok(Self {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
            ..self
        })
    }

    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        input.matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}
