//! What a program can say of GPUs that was built without the feature `gpu`.

use std::path::Path;

use super::{Compute, Software};
use crate::error::ModelError;

pub(super) fn best(_: Software) -> Result<Compute, ModelError> {
    let reason = "this program was built without the feature `gpu`";
    Err(ModelError::NoGpu(reason.into()))
}

pub(super) fn nth(_: usize, software: Software) -> Result<Compute, ModelError> {
    best(software)
}

/// Does nothing, because this program has no kernels for a GPU.
pub fn keep_kernels_in(_: &Path) {}
