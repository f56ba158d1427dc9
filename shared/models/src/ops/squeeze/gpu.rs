//! Squeeze-and-excitation on a GPU: four kernels forwards and six backwards. Burn composes it of
//! convolutions of images of one pixel.

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
use cubecl::prelude::{CubeCount, CubeDim};

use super::SqueezeLayers;
use crate::ops::{
    activation::{Activation, Gate},
    launch::{Division, buffer, channels_last, elementwise, empty},
    prelude::*,
};

/// Squeeze-and-excitation on a GPU. `input` and the output are `[batch, channels, height, width]`.
pub fn gpu_squeeze_excite(input: Tensor<4>, layers: SqueezeLayers) -> Tensor<4> {
    let (output, ..) = <Dispatch as GpuSqueeze>::gpu_squeeze(
        input.into_dispatch(),
        layers.reduce.0.into_dispatch(),
        layers.reduce.1.into_dispatch(),
        layers.expand.0.into_dispatch(),
        layers.expand.1.into_dispatch(),
        layers.activation,
        layers.gate,
    );
    Tensor::from_dispatch(output)
}

#[backend_extension(Autodiff, Cube, Fusion)]
pub trait GpuSqueeze: Backend {
    /// The output; and the means, `[batch, channels]`, and what the two layers make of them before
    /// their functions, `[batch, squeezed]` and `[batch, channels]`.
    #[fusion(meta = |input, _, reduce_bias, _, _, _, _| specs(input, reduce_bias))]
    #[allow(clippy::too_many_arguments, clippy::type_complexity)]
    fn gpu_squeeze(
        input: FloatTensor<Self>,
        reduce_weight: FloatTensor<Self>,
        reduce_bias: FloatTensor<Self>,
        expand_weight: FloatTensor<Self>,
        expand_bias: FloatTensor<Self>,
        activation: Activation,
        gate: Gate,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );
}

fn specs(
    input: &TensorSpec,
    reduce_bias: &TensorSpec,
) -> (TensorSpec, TensorSpec, TensorSpec, TensorSpec) {
    let [images, channels, _, _] = input.shape.dims();
    let spec = |width: usize| TensorSpec::new([images, width].into(), input.dtype);
    let squeezed = reduce_bias.shape[0];
    (
        input.clone(),
        spec(channels),
        spec(squeezed),
        spec(channels),
    )
}

#[backend_extension(Cube, Fusion)]
pub trait GpuSqueezeGradients: Backend {
    /// The gradients with respect to the input, and to the weight and the bias of each layer.
    #[fusion(meta = |input, _, _, reduced, gates, reduce_weight, expand_weight, _, _| {
        gradient_specs(input, reduced, gates, reduce_weight, expand_weight)
    })]
    #[allow(clippy::too_many_arguments, clippy::type_complexity)]
    fn gpu_squeeze_gradients(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        means: FloatTensor<Self>,
        reduced: FloatTensor<Self>,
        gates: FloatTensor<Self>,
        reduce_weight: FloatTensor<Self>,
        expand_weight: FloatTensor<Self>,
        activation: Activation,
        gate: Gate,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );
}

fn gradient_specs(
    input: &TensorSpec,
    reduced: &TensorSpec,
    gates: &TensorSpec,
    reduce_weight: &TensorSpec,
    expand_weight: &TensorSpec,
) -> (TensorSpec, TensorSpec, TensorSpec, TensorSpec, TensorSpec) {
    let bias = |of: &TensorSpec| TensorSpec::new([of.shape[1]].into(), input.dtype);
    (
        input.clone(),
        reduce_weight.clone(),
        bias(reduced),
        expand_weight.clone(),
        bias(gates),
    )
}

/// The sizes of a squeeze-and-excitation.
struct Sizes {
    images: usize,
    pixels: usize,
    channels: usize,
}

impl Sizes {
    /// For images `[batch, height, width, channels]`.
    fn of(images: &CubeTensor) -> Self {
        let [batch, height, width, channels] = images.meta.shape().dims();
        Self {
            images: batch,
            pixels: height * width,
            channels,
        }
    }

    /// The cubes that add up the pixels of each image.
    fn cubes(&self) -> (CubeCount, CubeDim, Division) {
        let of = Division::new(self.pixels, self.channels, 1);
        let columns = self.channels.div_ceil(of.lanes);
        let count = CubeCount::Static(columns as u32, self.images as u32, 1);
        (count, of.cube(), of)
    }
}

/// What a layer makes of its input, before its own function.
fn layer(
    input: &CubeTensor,
    weight: &CubeTensor,
    bias: &CubeTensor,
    activation: Activation,
) -> CubeTensor {
    let [images, inputs] = input.meta.shape().dims();
    let outputs = bias.meta.shape()[0];
    let output = empty(input, [images, outputs]);
    let (count, units) = elementwise(input, images * outputs);
    kernels::layer::launch(
        &input.client,
        count,
        units,
        buffer(input),
        buffer(weight),
        buffer(bias),
        buffer(&output),
        inputs,
        outputs,
        activation,
    );
    output
}

/// The gradients with respect to a layer's weight, bias and input.
fn layer_gradients(
    input: &CubeTensor,
    gradient: &CubeTensor,
    weight: &CubeTensor,
    activation: Activation,
) -> [CubeTensor; 3] {
    let [images, inputs] = input.meta.shape().dims();
    let outputs = gradient.meta.shape()[1];
    let weight_gradient = empty(weight, weight.meta.shape().clone());
    let bias_gradient = empty(weight, [outputs]);
    let (count, units) = elementwise(input, inputs * outputs);
    kernels::layer_gradients::launch(
        &input.client,
        count,
        units,
        buffer(input),
        buffer(gradient),
        buffer(&weight_gradient),
        buffer(&bias_gradient),
        images,
        inputs,
        outputs,
        activation,
    );
    let input_gradient = empty(input, [images, inputs]);
    let (count, units) = elementwise(input, images * inputs);
    kernels::layer_input_gradient::launch(
        &input.client,
        count,
        units,
        buffer(input),
        buffer(gradient),
        buffer(weight),
        buffer(&input_gradient),
        inputs,
        outputs,
        activation,
    );
    [weight_gradient, bias_gradient, input_gradient]
}

/// `images` times their gates, and more if `mean_gradient` is there, see [`kernels::scale`].
fn scale(
    images: &CubeTensor,
    gates: &CubeTensor,
    mean_gradient: Option<&CubeTensor>,
    sizes: &Sizes,
    gate: Gate,
) -> CubeTensor {
    let output = empty(images, images.meta.shape().clone());
    let (count, units) = elementwise(images, sizes.images * sizes.pixels * sizes.channels);
    kernels::scale::launch(
        &images.client,
        count,
        units,
        buffer(images),
        buffer(gates),
        mean_gradient.map(buffer).into(),
        buffer(&output),
        sizes.pixels,
        sizes.channels,
        gate,
    );
    permute_nhwc_to_nchw(output)
}

impl GpuSqueeze for CubeBackend {
    fn gpu_squeeze(
        input: CubeTensor,
        reduce_weight: CubeTensor,
        reduce_bias: CubeTensor,
        expand_weight: CubeTensor,
        expand_bias: CubeTensor,
        activation: Activation,
        gate: Gate,
    ) -> (CubeTensor, CubeTensor, CubeTensor, CubeTensor) {
        let input = channels_last(input);
        let [reduce_weight, reduce_bias, expand_weight, expand_bias] =
            [reduce_weight, reduce_bias, expand_weight, expand_bias].map(into_contiguous);
        let sizes = Sizes::of(&input);
        let means = empty(&input, [sizes.images, sizes.channels]);
        let (count, cube, of) = sizes.cubes();
        kernels::means::launch(
            &input.client,
            count,
            cube,
            buffer(&input),
            buffer(&means),
            sizes.pixels,
            sizes.channels,
            of.lanes,
            of.depth,
        );
        let reduced = layer(&means, &reduce_weight, &reduce_bias, Activation::None);
        let gates = layer(&reduced, &expand_weight, &expand_bias, activation);
        let output = scale(&input, &gates, None, &sizes, gate);
        (output, means, reduced, gates)
    }
}

impl GpuSqueezeGradients for CubeBackend {
    fn gpu_squeeze_gradients(
        input: CubeTensor,
        gradient: CubeTensor,
        means: CubeTensor,
        reduced: CubeTensor,
        gates: CubeTensor,
        reduce_weight: CubeTensor,
        expand_weight: CubeTensor,
        activation: Activation,
        gate: Gate,
    ) -> (CubeTensor, CubeTensor, CubeTensor, CubeTensor, CubeTensor) {
        let (input, gradient) = (channels_last(input), channels_last(gradient));
        let [reduce_weight, expand_weight] = [reduce_weight, expand_weight].map(into_contiguous);
        let sizes = Sizes::of(&input);
        let gate_gradient = empty(&input, [sizes.images, sizes.channels]);
        let (count, cube, of) = sizes.cubes();
        kernels::gate_gradients::launch(
            &input.client,
            count,
            cube,
            buffer(&input),
            buffer(&gradient),
            buffer(&gates),
            buffer(&gate_gradient),
            sizes.pixels,
            sizes.channels,
            gate,
            of.lanes,
            of.depth,
        );
        let [expand_gradient, expand_bias_gradient, reduced_gradient] =
            layer_gradients(&reduced, &gate_gradient, &expand_weight, activation);
        let [reduce_gradient, reduce_bias_gradient, mean_gradient] =
            layer_gradients(&means, &reduced_gradient, &reduce_weight, Activation::None);
        let input_gradient = scale(&gradient, &gates, Some(&mean_gradient), &sizes, gate);
        (
            input_gradient,
            reduce_gradient,
            reduce_bias_gradient,
            expand_gradient,
            expand_bias_gradient,
        )
    }
}

impl<C: CheckpointStrategy> GpuSqueeze for Autodiff<Cube, C> {
    fn gpu_squeeze(
        input: FloatTensor<Self>,
        reduce_weight: FloatTensor<Self>,
        reduce_bias: FloatTensor<Self>,
        expand_weight: FloatTensor<Self>,
        expand_bias: FloatTensor<Self>,
        activation: Activation,
        gate: Gate,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        let inputs = [
            input,
            reduce_weight,
            reduce_bias,
            expand_weight,
            expand_bias,
        ];
        let nodes = inputs.each_ref().map(|tensor| tensor.node());
        let [
            input,
            reduce_weight,
            reduce_bias,
            expand_weight,
            expand_bias,
        ] = inputs.map(|tensor| tensor.into_primitive());
        let (output, means, reduced, gates) = Cube::gpu_squeeze(
            input.clone(),
            reduce_weight.clone(),
            reduce_bias,
            expand_weight.clone(),
            expand_bias,
            activation,
            gate,
        );
        let saved = Saved {
            input,
            reduce_weight,
            expand_weight,
            means: means.clone(),
            reduced: reduced.clone(),
            gates: gates.clone(),
            activation,
            gate,
        };
        let output = match Squeeze.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(operation) => operation.finish(saved, output),
            OpsKind::UnTracked(operation) => operation.finish(output),
        };
        let constant = FloatTensor::<Self>::new;
        (output, constant(means), constant(reduced), constant(gates))
    }
}

/// The values that the backward pass needs.
#[derive(Debug, Clone)]
struct Saved {
    input: FloatTensor<Cube>,
    reduce_weight: FloatTensor<Cube>,
    expand_weight: FloatTensor<Cube>,
    means: FloatTensor<Cube>,
    reduced: FloatTensor<Cube>,
    gates: FloatTensor<Cube>,
    activation: Activation,
    gate: Gate,
}

#[derive(Debug)]
struct Squeeze;

impl Backward<Cube, 5> for Squeeze {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 5>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Cube>(&ops.node);
        let saved = ops.state;
        let (input, reduce_weight, reduce_bias, expand_weight, expand_bias) =
            Cube::gpu_squeeze_gradients(
                saved.input,
                gradient,
                saved.means,
                saved.reduced,
                saved.gates,
                saved.reduce_weight,
                saved.expand_weight,
                saved.activation,
                saved.gate,
            );
        let by_input = [
            input,
            reduce_weight,
            reduce_bias,
            expand_weight,
            expand_bias,
        ];
        for (node, gradient) in ops.parents.into_iter().zip(by_input) {
            if let Some(node) = node {
                gradients.register::<Cube>(node.id, gradient);
            }
        }
    }
}
