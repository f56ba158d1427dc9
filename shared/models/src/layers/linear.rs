//! The fully connected layers of the classifier.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

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

    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        input.matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}
