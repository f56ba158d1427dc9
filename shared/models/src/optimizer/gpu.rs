//! The rules of the optimizers as kernels for a GPU: one for a step of all weights that are moved
//! alike. Burn would fuse the operations of a rule, too, but not always the same of them together, so
//! that a run that is continued from a checkpoint would be rounded otherwise than one that is not.

use burn::backend::fusion::custom::TensorSpec;
use burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor};

use self::kernels::{adamw, nesterov};
use crate::ops::{
    launch::{buffer, elementwise, empty},
    prelude::*,
};

/// The numbers of a step by AdamW.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdamW {
    pub(super) beta_1: f64,
    pub(super) beta_2: f64,
    pub(super) epsilon: f64,
    /// What the square root of the mean square is divided by.
    pub(super) square_correction: f64,
    /// The share of a weight that stays.
    pub(super) kept: f64,
    /// What the direction of a weight is multiplied by.
    pub(super) rate: f64,
}

/// The numbers of a step by SGD with Nesterov momentum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nesterov {
    pub(super) momentum: f64,
    pub(super) decay: f64,
    pub(super) rate: f64,
}

/// Returns the weights and their two moments after a step.
pub(super) fn move_by_adamw(
    value: Tensor<1>,
    gradient: Tensor<1>,
    moments: Option<[Tensor<1>; 2]>,
    numbers: AdamW,
) -> (Tensor<1>, Vec<Tensor<1>>) {
    let has_moments = moments.is_some();
    // Before the first step these are not read.
    let [first, second] = moments.unwrap_or_else(|| [gradient.clone(), gradient.clone()]);
    let (value, first, second) = <Dispatch as GpuAdamW>::gpu_adamw(
        value.into_dispatch(),
        gradient.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        has_moments,
        numbers,
    );
    let moments = [first, second].map(Tensor::from_dispatch);
    (Tensor::from_dispatch(value), moments.to_vec())
}

/// Returns the weights and their velocity after a step.
pub(super) fn move_by_nesterov(
    value: Tensor<1>,
    gradient: Tensor<1>,
    velocity: Option<[Tensor<1>; 1]>,
    numbers: Nesterov,
) -> (Tensor<1>, Vec<Tensor<1>>) {
    let has_velocity = velocity.is_some();
    // Before the first step it is not read.
    let [velocity] = velocity.unwrap_or_else(|| [gradient.clone()]);
    let (value, velocity) = <Dispatch as GpuNesterov>::gpu_nesterov(
        value.into_dispatch(),
        gradient.into_dispatch(),
        velocity.into_dispatch(),
        has_velocity,
        numbers,
    );
    let velocity = Tensor::from_dispatch(velocity);
    (Tensor::from_dispatch(value), vec![velocity])
}

#[backend_extension(Cube, Fusion)]
pub(super) trait GpuAdamW: Backend {
    #[fusion(meta = |value, _, _, _, _, _| specs(value))]
    fn gpu_adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        has_moments: bool,
        numbers: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

fn specs(value: &TensorSpec) -> (TensorSpec, TensorSpec, TensorSpec) {
    (value.clone(), value.clone(), value.clone())
}

#[backend_extension(Cube, Fusion)]
pub(super) trait GpuNesterov: Backend {
    #[fusion(meta = |value, _, _, _, _| (value.clone(), value.clone()))]
    fn gpu_nesterov(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        has_velocity: bool,
        numbers: Nesterov,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl GpuAdamW for CubeBackend {
    fn gpu_adamw(
        value: CubeTensor,
        gradient: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        has_moments: bool,
        numbers: AdamW,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let [value, gradient, first, second] =
            [value, gradient, first, second].map(into_contiguous);
        let [new_value, new_first, new_second] =
            std::array::from_fn(|_| empty(&value, value.meta.shape().clone()));
        let (count, units) = elementwise(&value, value.meta.num_elements());
        adamw::launch(
            &value.client,
            count,
            units,
            buffer(&value),
            buffer(&gradient),
            has_moments.then(|| buffer(&first)).into(),
            has_moments.then(|| buffer(&second)).into(),
            buffer(&new_value),
            buffer(&new_first),
            buffer(&new_second),
            numbers.beta_1 as f32,
            (1.0 - numbers.beta_1) as f32,
            numbers.beta_2 as f32,
            (1.0 - numbers.beta_2) as f32,
            numbers.epsilon as f32,
            numbers.square_correction as f32,
            numbers.kept as f32,
            numbers.rate as f32,
        );
        (new_value, new_first, new_second)
    }
}

impl GpuNesterov for CubeBackend {
    fn gpu_nesterov(
        value: CubeTensor,
        gradient: CubeTensor,
        velocity: CubeTensor,
        has_velocity: bool,
        numbers: Nesterov,
    ) -> (CubeTensor, CubeTensor) {
        let [value, gradient, velocity] = [value, gradient, velocity].map(into_contiguous);
        let [new_value, new_velocity] =
            std::array::from_fn(|_| empty(&value, value.meta.shape().clone()));
        let (count, units) = elementwise(&value, value.meta.num_elements());
        nesterov::launch(
            &value.client,
            count,
            units,
            buffer(&value),
            buffer(&gradient),
            has_velocity.then(|| buffer(&velocity)).into(),
            buffer(&new_value),
            buffer(&new_velocity),
            numbers.momentum as f32,
            numbers.decay as f32,
            numbers.rate as f32,
        );
        (new_value, new_velocity)
    }
}

mod kernels {
    use cubecl::prelude::*;

    #[cube(launch)]
    #[allow(clippy::too_many_arguments)]
    pub fn adamw(
        value: &[f32],
        gradient: &[f32],
        first: ComptimeOption<&[f32]>,
        second: ComptimeOption<&[f32]>,
        new_value: &mut [f32],
        new_first: &mut [f32],
        new_second: &mut [f32],
        beta_1: f32,
        rest_1: f32,
        beta_2: f32,
        rest_2: f32,
        epsilon: f32,
        square_correction: f32,
        kept: f32,
        rate: f32,
    ) {
        let at = ABSOLUTE_POS;
        if at < value.len() {
            let own = gradient[at];
            let before: ComptimeOption<f32> = first.as_ref().map(|first| first[at]);
            let mean = before.unwrap_or(0.0f32) * beta_1 + own * rest_1;
            let before: ComptimeOption<f32> = second.as_ref().map(|second| second[at]);
            let square = before.unwrap_or(0.0f32) * beta_2 + own * own * rest_2;
            let spread = square.sqrt() / square_correction + epsilon;
            new_value[at] = value[at] * kept - mean / spread * rate;
            new_first[at] = mean;
            new_second[at] = square;
        }
    }

    #[cube(launch)]
    #[allow(clippy::too_many_arguments)]
    pub fn nesterov(
        value: &[f32],
        gradient: &[f32],
        velocity: ComptimeOption<&[f32]>,
        new_value: &mut [f32],
        new_velocity: &mut [f32],
        momentum: f32,
        decay: f32,
        rate: f32,
    ) {
        let at = ABSOLUTE_POS;
        if at < value.len() {
            let own = gradient[at] + value[at] * decay;
            let before: ComptimeOption<f32> = velocity.as_ref().map(|velocity| velocity[at]);
            let moved = before.unwrap_or(0.0f32) * momentum + own;
            new_value[at] = value[at] - (own + moved * momentum) * rate;
            new_velocity[at] = moved;
        }
    }
}
