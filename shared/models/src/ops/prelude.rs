//! The names that the operations share, for `use crate::ops::prelude::*`.

pub use std::mem::MaybeUninit;

pub use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, TensorMetadata,
        autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};
pub use rayon::prelude::*;

pub use super::{
    autodiff::{AutodiffTensor, Differentiable, into_parts, track},
    buffer::{filled, images_per_part, sum, tensor, values},
};
