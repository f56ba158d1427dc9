//! The statistics of a batch that the norm computes.

use crate::ops::prelude::*;

/// The statistics of one channel over a batch.
#[derive(Debug, Clone, Copy)]
pub struct Statistics {
    pub mean: f32,
    /// 1 / √(variance + ε) with the biased variance, which the norm multiplies by.
    pub inverse_deviation: f32,
    /// The variance that moves the running variance.
    pub unbiased_variance: f32,
}

/// The mean and the unbiased variance by channel.
pub fn tensors(statistics: &[Statistics]) -> (FlexTensor, FlexTensor) {
    let mean: Vec<f32> = statistics.iter().map(|channel| channel.mean).collect();
    let variance: Vec<f32> = statistics
        .iter()
        .map(|channel| channel.unbiased_variance)
        .collect();
    let channels = [statistics.len()];
    (tensor(mean, channels), tensor(variance, channels))
}
