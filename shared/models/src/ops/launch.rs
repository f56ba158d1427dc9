//! How kernels of our own for a GPU are launched.
//!
//! They read images as `[rows, channels]`: a row for each pixel, with its channels side by side, as
//! Burn's convolutions write them. A cube computes some channels, with several units for each, which
//! share the rows. What they add up is combined in a fixed order, so that the same input always has
//! the same result.

use burn::backend::Shape;
use burn_cubecl::{
    kernel::into_contiguous,
    ops::{numeric::empty_device_contiguous_dtype, permute_nchw_to_nhwc},
    tensor::CubeTensor,
};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

/// The units of a cube.
const UNITS: usize = 256;

/// The most cubes of a kernel along an axis, on every GPU.
const MOST_CUBES: usize = 65_535;

/// The most parts that rows are divided into. The results of the parts are combined later.
const MOST_PARTS: usize = 64;

/// How `[rows, channels]` are divided among the cubes of a kernel.
pub struct Division {
    pub rows: usize,
    pub channels: usize,
    /// The channels of a cube.
    pub lanes: usize,
    /// The units of a cube for each of its channels.
    pub depth: usize,
    /// The number of parts that the rows are divided into to add something up.
    pub parts: usize,
    pub rows_of_part: usize,
    /// The rows of each cube, if each row is computed by itself.
    pub rows_of_cube: usize,
}

impl Division {
    /// `rows_of_unit` is the least number of rows that are worth a unit.
    pub fn new(rows: usize, channels: usize, rows_of_unit: usize) -> Self {
        let lanes = if channels <= 16 { 16 } else { 32 };
        let depth = UNITS / lanes;
        let rows_of_cube = (depth * rows_of_unit).max(rows.div_ceil(MOST_CUBES));
        let rows_of_part = rows_of_cube.max(rows.div_ceil(MOST_PARTS));
        Self {
            rows,
            channels,
            lanes,
            depth,
            parts: rows.div_ceil(rows_of_part),
            rows_of_part,
            rows_of_cube,
        }
    }

    /// The cubes for all channels and rows, if each has so many of the rows.
    pub fn cubes(&self, rows_of_each: usize) -> CubeCount {
        let columns = self.channels.div_ceil(self.lanes);
        CubeCount::Static(columns as u32, self.rows.div_ceil(rows_of_each) as u32, 1)
    }

    pub fn cube(&self) -> CubeDim {
        CubeDim::new_2d(self.lanes as u32, self.depth as u32)
    }
}

/// The cubes that compute each of so many values by a unit.
pub fn elementwise(like: &CubeTensor, values: usize) -> (CubeCount, CubeDim) {
    let units = CubeDim::new(&like.client, values);
    let count = calculate_cube_count_elemwise(&like.client, values, units);
    (count, units)
}

/// A new tensor on the same device, whose values are still to be written.
pub fn empty(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    empty_device_contiguous_dtype(
        like.client.clone(),
        like.device.clone(),
        shape.into(),
        like.dtype,
    )
}

/// Images `[batch, channels, height, width]` as `[batch, height, width, channels]`, without gaps in
/// memory.
pub fn channels_last(images: CubeTensor) -> CubeTensor {
    into_contiguous(permute_nchw_to_nhwc(images))
}

/// A tensor as the argument of a kernel.
pub fn buffer(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}
