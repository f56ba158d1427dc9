//! The published weights, which are compiled into the program.

use burn::{
    module::Param,
    tensor::{DType, Device, Tensor, TensorData},
};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::error::FaceError;

/// The weights of BlazeFace short range. `data/README.md` says where they come from.
pub static PUBLISHED: &[u8] = include_bytes!("../data/blazeface_short_range.safetensors");

/// The SHA-256 of [`PUBLISHED`], as `data/convert.py` printed it.
const SHA256: &str = "0c5d0b6fb7a1e8f1de8adfc55020b7344057d5e3136c9dd2e2e85c99ca49b0f1";

/// The tensors of a file of weights.
pub struct Weights<'a> {
    tensors: SafeTensors<'a>,
    device: &'a Device,
}

impl<'a> Weights<'a> {
    /// Opens a file of weights, which must be the published ones bit by bit.
    pub fn open(bytes: &'a [u8], device: &'a Device) -> Result<Self, FaceError> {
        let found = hex::encode(Sha256::digest(bytes));
        if found != SHA256 {
            return Err(FaceError::Damaged {
                expected: SHA256,
                found,
            });
        }
        Ok(Self {
            tensors: SafeTensors::deserialize(bytes)?,
            device,
        })
    }

    /// The tensor of this name and shape, on the device and as 32-bit floats.
    pub fn parameter<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Param<Tensor<D>>, FaceError> {
        let wrong = || FaceError::Tensor {
            name: name.to_owned(),
            expected: shape.to_vec(),
        };
        let tensor = self.tensors.tensor(name).map_err(|_| wrong())?;
        if tensor.dtype() != Dtype::F16 || tensor.shape() != shape {
            return Err(wrong());
        }
        let stored = TensorData::from_bytes_vec(tensor.data().to_vec(), shape, DType::F16);
        let values = Tensor::from_data(stored.convert::<f32>(), self.device);
        Ok(Param::from_tensor(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_bit_is_noticed() {
        let device = Device::flex();
        assert!(Weights::open(PUBLISHED, &device).is_ok());
        let mut damaged = PUBLISHED.to_vec();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let error = Weights::open(&damaged, &device).err().unwrap().to_string();
        assert!(error.contains("are damaged"), "{error}");
        assert!(Weights::open(&PUBLISHED[..1000], &device).is_err());
    }

    #[test]
    fn a_tensor_of_another_shape_is_refused() {
        let device = Device::flex();
        let weights = Weights::open(PUBLISHED, &device).unwrap();
        let error = weights.parameter("stem.bias", [25]).unwrap_err();
        assert!(error.to_string().contains("\"stem.bias\""), "{error}");
        assert!(weights.parameter("stem.biases", [24]).is_err());
    }
}
