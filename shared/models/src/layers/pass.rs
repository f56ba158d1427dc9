//! What the layers of one forward pass have in common.

use crate::ops::Kernels;

/// How one forward pass through a network is computed.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    pub kernels: Kernels,
    /// If set, batch norm takes the statistics of the batch on every device, and moves the
    /// running statistics by this share towards them.
    pub recompute: Option<f64>,
}
