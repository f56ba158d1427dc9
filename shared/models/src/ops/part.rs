//! Parts of a flat tensor on a GPU, which are read where they are.

use burn::backend::fusion::custom::TensorSpec;
use burn_cubecl::{
    CubeBackend,
    kernel::{into_contiguous, slice},
    tensor::CubeTensor,
};

use super::prelude::*;

/// The `len` values of a flat tensor from `start` on. Nothing is copied if the part begins at a
/// multiple of the device's alignment, wherever it ends; Burn's slices have to end at one, too.
pub fn gpu_part(flat: Tensor<1>, start: usize, len: usize) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as GpuPart>::gpu_part(
        flat.into_dispatch(),
        start,
        len,
    ))
}

#[backend_extension(Cube, Fusion)]
pub trait GpuPart: Backend {
    #[fusion(meta = |flat, _, len| TensorSpec::new([*len].into(), flat.dtype))]
    fn gpu_part(flat: FloatTensor<Self>, start: usize, len: usize) -> FloatTensor<Self>;
}

impl GpuPart for CubeBackend {
    fn gpu_part(flat: CubeTensor, start: usize, len: usize) -> CubeTensor {
        let flat = into_contiguous(flat);
        let bytes = |values: usize| (values * flat.dtype.size()) as u64;
        let alignment = flat.client.properties().memory.alignment;
        if !bytes(start).is_multiple_of(alignment) {
            return slice(
                flat,
                &std::array::from_fn::<_, 1, _>(|_| start..start + len),
            );
        }
        let after = flat.meta.shape()[0] - start - len;
        let handle = flat.handle.clone();
        let handle = handle.offset_start(bytes(start)).offset_end(bytes(after));
        let (client, device) = (flat.client.clone(), flat.device.clone());
        CubeTensor::new_contiguous(client, device, [len].into(), handle, flat.dtype)
    }
}
