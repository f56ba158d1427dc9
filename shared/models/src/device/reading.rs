//! Reading what a device has computed.

use burn::tensor::Tensor;

use crate::error::ModelError;

/// Returns a tensor's values, in row-major order. Waits for the device to compute all that they
/// depend on, so that whatever went wrong on the way is an error here.
///
/// # Errors
/// [`ModelError::DeviceMemory`] if the device had no memory for one of the tensors that they depend
/// on, and [`ModelError::Output`] for everything else.
pub fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ModelError> {
    tensor.try_into_vec_as().map_err(|error| {
        let text = error.to_string();
        match NO_MEMORY.iter().any(|words| text.contains(words)) {
            true => ModelError::DeviceMemory(error.into()),
            false => ModelError::Output(error.into()),
        }
    })
}

/// What CubeCL says of a tensor that is larger than the device's buffers may be, and of one for
/// which there is no memory left. Burn passes its errors on as texts only.
const NO_MEMORY: [&str; 2] = ["can't allocate buffer of size", "out of device memory"];
