//! Depthwise convolution on a GPU. Burn computes it, and the gradient with respect to the input. The
//! gradient with respect to the filters is our own: Burn's is a convolution by the gradient with as
//! few units as the filters have values, on two copies of the images.

mod kernels;

use burn::{
    backend::{
        Cube, TensorMetadata,
        autodiff::{
            checkpoint::base::Checkpointer,
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        ops::ModuleOps,
    },
    tensor::ops::ConvOptions,
};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use crate::ops::{
    launch::{Division, buffer, channels_last, elementwise, empty},
    prelude::*,
};

/// Depthwise convolution on a GPU: a filter of its own for every channel.
///
/// * `input`: `[batch, channels, height, width]`
/// * `weight`: `[channels, 1, k, k]`
/// * `padding`: the numbers of zeros above and below, and at the left and at the right
pub fn gpu_depthwise(
    input: Tensor<4>,
    weight: Tensor<4>,
    stride: usize,
    padding: [usize; 2],
) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as GpuDepthwise>::gpu_depthwise(
        input.into_dispatch(),
        weight.into_dispatch(),
        stride,
        padding[0],
        padding[1],
    ))
}

#[backend_extension(Autodiff, Cube, Fusion)]
pub trait GpuDepthwise: Backend {
    #[fusion(default)]
    fn gpu_depthwise(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        above: usize,
        left: usize,
    ) -> FloatTensor<Self> {
        let options = options(&weight, stride, [above, left]);
        Self::conv2d(input, weight, None, options)
    }
}

#[backend_extension(Cube, Fusion)]
pub trait GpuFilterGradient: Backend {
    /// The gradient with respect to the filters. `weight` has their shape.
    #[fusion(dtype = weight, shape = weight)]
    fn gpu_filter_gradient(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        above: usize,
        left: usize,
    ) -> FloatTensor<Self>;
}

fn options(weight: &impl TensorMetadata, stride: usize, padding: [usize; 2]) -> ConvOptions<2> {
    let groups = weight.shape()[0];
    ConvOptions::new([stride; 2], padding, [1; 2], groups)
}

/// The least number of lines of the output that are worth a unit.
const LINES_OF_UNIT: usize = 2;

impl GpuDepthwise for CubeBackend {}

impl GpuFilterGradient for CubeBackend {
    fn gpu_filter_gradient(
        input: CubeTensor,
        gradient: CubeTensor,
        weight: CubeTensor,
        stride: usize,
        above: usize,
        left: usize,
    ) -> CubeTensor {
        let (input, gradient) = (channels_last(input), channels_last(gradient));
        let [_, height, width, channels] = input.meta.shape().dims();
        let [images, output_height, output_width, _] = gradient.meta.shape().dims();
        let [_, _, kernel, _] = weight.meta.shape().dims();
        let of = Division::new(images * output_height, channels, LINES_OF_UNIT);
        let client = input.client.clone();
        let values = channels * kernel * kernel;
        let output = empty(&input, weight.meta.shape().clone());
        let partial = match of.parts {
            1 => output.clone(),
            parts => empty(&input, [parts, values]),
        };
        kernels::partial_filter_gradients::launch(
            &client,
            of.cubes(of.rows_of_part),
            of.cube(),
            buffer(&input),
            buffer(&gradient),
            buffer(&partial),
            of.rows,
            of.channels,
            of.rows_of_part,
            kernels::SizesLaunch::new(
                height,
                width,
                output_height,
                output_width,
                stride,
                above,
                left,
            ),
            kernel,
            of.lanes,
            of.depth,
        );
        if of.parts > 1 {
            let (count, units) = elementwise(&input, values);
            kernels::sum_of_parts::launch(
                &client,
                count,
                units,
                buffer(&partial),
                buffer(&output),
                of.parts,
            );
        }
        output
    }
}

impl<C: CheckpointStrategy> GpuDepthwise for Autodiff<Cube, C> {
    fn gpu_depthwise(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        above: usize,
        left: usize,
    ) -> FloatTensor<Self> {
        let nodes = [&input, &weight].map(|tensor| tensor.node());
        let (input, weight) = (input.into_primitive(), weight.into_primitive());
        let output = Cube::gpu_depthwise(input.clone(), weight.clone(), stride, above, left);
        let saved = Saved {
            input,
            weight,
            stride,
            padding: [above, left],
        };
        match Depthwise.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(operation) => operation.finish(saved, output),
            OpsKind::UnTracked(operation) => operation.finish(output),
        }
    }
}

/// The values that the backward pass needs.
#[derive(Debug, Clone)]
struct Saved {
    input: FloatTensor<Cube>,
    weight: FloatTensor<Cube>,
    stride: usize,
    padding: [usize; 2],
}

#[derive(Debug)]
struct Depthwise;

impl Backward<Cube, 2> for Depthwise {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Cube>(&ops.node);
        let Saved {
            input,
            weight,
            stride,
            padding,
        } = ops.state;
        let [of_input, of_weight] = ops.parents;
        if let Some(node) = of_input {
            let options = options(&weight, stride, padding);
            let (input, weight) = (input.clone(), weight.clone());
            let gradient = Cube::conv2d_x_backward(input, weight, gradient.clone(), options);
            gradients.register::<Cube>(node.id, gradient);
        }
        if let Some(node) = of_weight {
            let [above, left] = padding;
            let gradient = Cube::gpu_filter_gradient(input, gradient, weight, stride, above, left);
            gradients.register::<Cube>(node.id, gradient);
        }
    }
}
