//! Buffers of values: made, summed, and turned to tensors and back.

use std::mem::MaybeUninit;

use burn::{backend::flex::FlexTensor, tensor::TensorData};

/// The number of parts in which a batch is summed. It is fixed so that sums are
/// rounded alike on every machine, and large enough to keep as many threads busy.
const PARTS: usize = 8;

/// The number of images in each part of a batch of `images`.
pub fn images_per_part(images: usize) -> usize {
    images.div_ceil(PARTS).max(1)
}

/// The sum of vectors of equal length, added in their order.
pub fn sum(parts: Vec<Vec<f32>>) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        for (total, value) in total.iter_mut().zip(part) {
            *total += value;
        }
    }
    total
}

/// A vector of `len` values that `fill` writes. It is not zeroed first.
///
/// # Safety
/// `fill` must initialize every value.
pub unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    fill(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and `fill` has initialized as many.
    unsafe { values.set_len(len) };
    values
}

/// A tensor of `values` in row-major order.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The values of a tensor that `to_contiguous` has made contiguous, in row-major
/// order.
pub fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.storage()
}
