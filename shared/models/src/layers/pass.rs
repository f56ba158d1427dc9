//! The settings that all layers share in one forward pass.

use crate::ops::Kernels;

/// The settings of one forward pass through a network.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    pub kernels: Kernels,
    /// If set, batch norm takes the statistics of the batch on every device, and moves the
    /// running statistics by this share towards them.
    pub recompute: Option<f64>,
}
