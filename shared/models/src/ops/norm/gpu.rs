//! Batch norm, the activation that follows it and the block's shortcut on a GPU: two kernels
//! forwards and two backwards. Burn composes it of operations with a kernel for each reduction, and
//! more for the activation, the shortcut and the running statistics.

mod kernels;

use burn::backend::{
    Cube,
    autodiff::{
        checkpoint::base::Checkpointer,
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    fusion::custom::TensorSpec,
};
use burn_cubecl::{
    CubeBackend, kernel::into_contiguous, ops::permute_nhwc_to_nchw, tensor::CubeTensor,
};

use crate::ops::{
    activation::Activation,
    launch::{Division, buffer, channels_last, empty},
    prelude::*,
};

/// What [`gpu_norm`] needs besides its input.
pub struct GpuNorm {
    pub weight: Tensor<1>,
    pub bias: Tensor<1>,
    /// It has the shape of the input.
    pub shortcut: Option<Tensor<4>>,
    pub running_mean: Tensor<1>,
    pub running_variance: Tensor<1>,
    pub epsilon: f64,
    /// The share by which the running statistics move towards those of the batch.
    pub share: f64,
    pub activation: Activation,
}

/// `activation(norm(input) · weight + bias) + shortcut` on a GPU, with the mean and variance of the
/// batch. `input` is `[batch, channels, height, width]`.
///
/// Returns the output, of the input's shape, and the running mean and the running variance (which is
/// unbiased) after they have moved. These have no gradient.
pub fn gpu_norm(input: Tensor<4>, norm: GpuNorm) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let has_shortcut = norm.shortcut.is_some();
    // An operation has a fixed number of inputs. Without a shortcut, this one is not read.
    let shortcut = norm.shortcut.unwrap_or_else(|| input.clone());
    let (output, _, _, mean, variance) = <Dispatch as GpuNormOps>::gpu_norm(
        input.into_dispatch(),
        norm.weight.into_dispatch(),
        norm.bias.into_dispatch(),
        shortcut.into_dispatch(),
        norm.running_mean.into_dispatch(),
        norm.running_variance.into_dispatch(),
        has_shortcut,
        norm.epsilon,
        norm.share,
        norm.activation,
    );
    (
        Tensor::from_dispatch(output),
        Tensor::from_dispatch(mean),
        Tensor::from_dispatch(variance),
    )
}

/// The output, the mean and the biased variance of the batch, and the moved running mean and
/// variance.
type Normalized<B> = (
    FloatTensor<B>,
    FloatTensor<B>,
    FloatTensor<B>,
    FloatTensor<B>,
    FloatTensor<B>,
);

#[backend_extension(Autodiff, Cube, Fusion)]
pub trait GpuNormOps: Backend {
    #[fusion(meta = |input, weight, _, _, _, _, _, _, _, _| specs(input, weight))]
    #[allow(clippy::too_many_arguments, clippy::type_complexity)]
    fn gpu_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_variance: FloatTensor<Self>,
        has_shortcut: bool,
        epsilon: f64,
        share: f64,
        activation: Activation,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );
}

fn specs(
    input: &TensorSpec,
    weight: &TensorSpec,
) -> (TensorSpec, TensorSpec, TensorSpec, TensorSpec, TensorSpec) {
    let channels = || weight.clone();
    (
        input.clone(),
        channels(),
        channels(),
        channels(),
        channels(),
    )
}

#[backend_extension(Cube, Fusion)]
pub trait GpuNormGradients: Backend {
    /// The gradients with respect to the input, the weight and the bias.
    #[fusion(meta = |input, _, weight, _, _, _, _, _| (input.clone(), weight.clone(), weight.clone()))]
    #[allow(clippy::too_many_arguments)]
    fn gpu_norm_gradients(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        epsilon: f64,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The least number of rows that are worth a unit.
const ROWS_OF_UNIT: usize = 16;

/// How images `[batch, height, width, channels]` are divided among cubes.
fn division(images: &CubeTensor) -> Division {
    let [batch, height, width, channels] = images.meta.shape().dims();
    Division::new(batch * height * width, channels, ROWS_OF_UNIT)
}

impl GpuNormOps for CubeBackend {
    fn gpu_norm(
        input: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        shortcut: CubeTensor,
        running_mean: CubeTensor,
        running_variance: CubeTensor,
        has_shortcut: bool,
        epsilon: f64,
        share: f64,
        activation: Activation,
    ) -> Normalized<Self> {
        let input = channels_last(input);
        let shortcut = has_shortcut.then(|| channels_last(shortcut));
        let [weight, bias, old_mean, old_variance] =
            [weight, bias, running_mean, running_variance].map(into_contiguous);
        let of = division(&input);
        let client = input.client.clone();
        let of_parts = || empty(&input, [of.parts, of.channels]);
        let (means, squares) = (of_parts(), of_parts());
        kernels::partial_statistics::launch(
            &client,
            of.cubes(of.rows_of_part),
            of.cube(),
            buffer(&input),
            buffer(&means),
            buffer(&squares),
            of.rows,
            of.channels,
            of.rows_of_part,
            of.lanes,
            of.depth,
        );
        let output = empty(&input, input.meta.shape().clone());
        let [mean, variance, new_mean, new_variance] =
            std::array::from_fn(|_| empty(&input, [of.channels]));
        kernels::normalize::launch(
            &client,
            of.cubes(of.rows_of_cube),
            of.cube(),
            buffer(&input),
            buffer(&weight),
            buffer(&bias),
            shortcut.as_ref().map(buffer).into(),
            buffer(&means),
            buffer(&squares),
            buffer(&old_mean),
            buffer(&old_variance),
            buffer(&output),
            buffer(&mean),
            buffer(&variance),
            buffer(&new_mean),
            buffer(&new_variance),
            of.rows,
            of.channels,
            of.parts,
            of.rows_of_part,
            of.rows_of_cube,
            epsilon as f32,
            share as f32,
            activation,
            of.lanes,
            of.depth,
        );
        (
            permute_nhwc_to_nchw(output),
            mean,
            variance,
            new_mean,
            new_variance,
        )
    }
}

impl GpuNormGradients for CubeBackend {
    fn gpu_norm_gradients(
        input: CubeTensor,
        gradient: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        mean: CubeTensor,
        variance: CubeTensor,
        epsilon: f64,
        activation: Activation,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let (input, gradient) = (channels_last(input), channels_last(gradient));
        let [weight, bias] = [weight, bias].map(into_contiguous);
        let of = division(&input);
        let client = input.client.clone();
        let of_parts = || empty(&input, [of.parts, of.channels]);
        let (sums, products) = (of_parts(), of_parts());
        kernels::partial_gradients::launch(
            &client,
            of.cubes(of.rows_of_part),
            of.cube(),
            buffer(&input),
            buffer(&gradient),
            buffer(&weight),
            buffer(&bias),
            buffer(&mean),
            buffer(&variance),
            buffer(&sums),
            buffer(&products),
            of.rows,
            of.channels,
            of.rows_of_part,
            epsilon as f32,
            activation,
            of.lanes,
            of.depth,
        );
        let input_gradient = empty(&input, input.meta.shape().clone());
        let [weight_gradient, bias_gradient] =
            std::array::from_fn(|_| empty(&input, [of.channels]));
        kernels::gradients::launch(
            &client,
            of.cubes(of.rows_of_cube),
            of.cube(),
            buffer(&input),
            buffer(&gradient),
            buffer(&weight),
            buffer(&bias),
            buffer(&mean),
            buffer(&variance),
            buffer(&sums),
            buffer(&products),
            buffer(&input_gradient),
            buffer(&weight_gradient),
            buffer(&bias_gradient),
            of.rows,
            of.channels,
            of.parts,
            of.rows_of_cube,
            epsilon as f32,
            activation,
            of.lanes,
            of.depth,
        );
        (
            permute_nhwc_to_nchw(input_gradient),
            weight_gradient,
            bias_gradient,
        )
    }
}

impl<C: CheckpointStrategy> GpuNormOps for Autodiff<Cube, C> {
    fn gpu_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_variance: FloatTensor<Self>,
        has_shortcut: bool,
        epsilon: f64,
        share: f64,
        activation: Activation,
    ) -> Normalized<Self> {
        let nodes = [&input, &weight, &bias, &shortcut].map(|tensor| tensor.node());
        let (input, weight, bias) = (
            input.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
        );
        let (output, mean, variance, new_mean, new_variance) = Cube::gpu_norm(
            input.clone(),
            weight.clone(),
            bias.clone(),
            shortcut.into_primitive(),
            running_mean.into_primitive(),
            running_variance.into_primitive(),
            has_shortcut,
            epsilon,
            share,
            activation,
        );
        let saved = Saved {
            input,
            weight,
            bias,
            mean: mean.clone(),
            variance: variance.clone(),
            has_shortcut,
            epsilon,
            activation,
        };
        let output = match Norm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(operation) => operation.finish(saved, output),
            OpsKind::UnTracked(operation) => operation.finish(output),
        };
        let constant = FloatTensor::<Self>::new;
        (
            output,
            constant(mean),
            constant(variance),
            constant(new_mean),
            constant(new_variance),
        )
    }
}

/// The values that the backward pass needs.
#[derive(Debug, Clone)]
struct Saved {
    input: FloatTensor<Cube>,
    weight: FloatTensor<Cube>,
    bias: FloatTensor<Cube>,
    mean: FloatTensor<Cube>,
    variance: FloatTensor<Cube>,
    has_shortcut: bool,
    epsilon: f64,
    activation: Activation,
}

#[derive(Debug)]
struct Norm;

impl Backward<Cube, 4> for Norm {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Cube>(&ops.node);
        let saved = ops.state;
        let [input, weight, bias, shortcut] = ops.parents;
        if let (Some(shortcut), true) = (shortcut, saved.has_shortcut) {
            gradients.register::<Cube>(shortcut.id, gradient.clone());
        }
        let (input_gradient, weight_gradient, bias_gradient) = Cube::gpu_norm_gradients(
            saved.input,
            gradient,
            saved.weight,
            saved.bias,
            saved.mean,
            saved.variance,
            saved.epsilon,
            saved.activation,
        );
        let by_input = [
            (input, input_gradient),
            (weight, weight_gradient),
            (bias, bias_gradient),
        ];
        for (node, gradient) in by_input {
            if let Some(node) = node {
                gradients.register::<Cube>(node.id, gradient);
            }
        }
    }
}
