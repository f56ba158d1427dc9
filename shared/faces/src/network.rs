//! BlazeFace short range as a Burn module.

use burn::{
    module::{Module, Param},
    tensor::{
        Device, Tensor, activation, module,
        ops::{ConvOptions, MaxPoolOptions, PadMode},
    },
};
use maskline_models::ops::{self, Kernels};

use crate::{
    error::FaceError,
    kernels,
    table::{BLOCKS, GRIDS, STEM, VALUES},
    weights::Weights,
};

/// The network, with the published weights.
///
/// On the CPU it is computed by this crate's operations, and else by Burn's.
#[derive(Module, Debug)]
pub struct BlazeFace {
    stem: Convolution,
    blocks: Vec<Block>,
    heads: Vec<Head>,
}

/// What the network says about every anchor of every image.
pub struct Output {
    /// `[batch, anchors, 16]`: the centre, the width and the height of the box and six points, in
    /// pixels of the input, relative to the anchor.
    pub values: Tensor<3>,
    /// `[batch, anchors]`: the logit of a face being there.
    pub scores: Tensor<2>,
}

impl BlazeFace {
    /// Reads the weights, which must be the published ones.
    pub fn new(weights: &[u8], device: &Device) -> Result<Self, FaceError> {
        let weights = &Weights::open(weights, device)?;
        let stem = Convolution::new(weights, "stem", [STEM, 3, 5, 5])?;
        let mut channels = STEM;
        let mut blocks = Vec::with_capacity(BLOCKS.len());
        for (at, of) in BLOCKS.iter().enumerate() {
            let depthwise = format!("blocks.{at}.depthwise");
            let pointwise = format!("blocks.{at}.pointwise");
            blocks.push(Block {
                depthwise: Convolution::new(weights, &depthwise, [channels, 1, 3, 3])?,
                pointwise: Convolution::new(weights, &pointwise, [of.channels, channels, 1, 1])?,
                stride: of.stride,
            });
            channels = of.channels;
        }
        let heads = GRIDS.iter().map(|grid| {
            let channels = BLOCKS[grid.blocks - 1].channels;
            let head = |part: &str, values: usize| {
                let shape = [grid.anchors * values, channels, 1, 1];
                Convolution::new(weights, &format!("{}.{part}", grid.name), shape)
            };
            Ok(Head {
                boxes: head("boxes", VALUES)?,
                scores: head("scores", 1)?,
            })
        });
        Ok(Self {
            stem,
            blocks,
            heads: heads.collect::<Result<_, FaceError>>()?,
        })
    }

    /// Looks at images `[batch, 3, 128, 128]`, RGB, −1 to 1.
    pub fn forward(&self, images: Tensor<4>) -> Output {
        let kernels = Kernels::of(&images.device());
        self.forward_by(images, kernels)
    }

    fn forward_by(&self, images: Tensor<4>, kernels: Kernels) -> Output {
        let mut features = match kernels {
            Kernels::Own => kernels::stem(images, self.stem.weight.val(), self.stem.bias.val()),
            _ => {
                // 128 pixels and a stride of 2: one zero before them and two after them.
                let padded = images.pad((1, 2, 1, 2), PadMode::Constant(0.0));
                activation::relu(self.stem.forward(padded, 2, 1))
            }
        };
        let (mut values, mut scores) = (vec![], vec![]);
        let mut done = 0;
        for (grid, head) in GRIDS.iter().zip(&self.heads) {
            for block in &self.blocks[done..grid.blocks] {
                features = block.forward(features, kernels);
            }
            done = grid.blocks;
            values.push(head.boxes.by_anchor::<VALUES>(features.clone(), kernels));
            scores.push(head.scores.by_anchor::<1>(features.clone(), kernels));
        }
        Output {
            values: Tensor::cat(values, 1),
            scores: Tensor::cat(scores, 1).squeeze_dim(2),
        }
    }
}

/// A convolution with a bias.
#[derive(Module, Debug)]
struct Convolution {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

impl Convolution {
    fn new(weights: &Weights, name: &str, shape: [usize; 4]) -> Result<Self, FaceError> {
        Ok(Self {
            weight: weights.parameter(&format!("{name}.weight"), shape)?,
            bias: weights.parameter(&format!("{name}.bias"), [shape[0]])?,
        })
    }

    /// Computes it with Burn's operation. The input is padded already.
    fn forward(&self, input: Tensor<4>, stride: usize, groups: usize) -> Tensor<4> {
        let options = ConvOptions::new([stride; 2], [0; 2], [1; 2], groups);
        module::conv2d(input, self.weight.val(), Some(self.bias.val()), options)
    }

    /// Computes a pointwise convolution, whose filters are `N` values for each anchor of a cell.
    /// Returns `[batch, anchors, N]`, row by row, cell by cell.
    fn by_anchor<const N: usize>(&self, input: Tensor<4>, kernels: Kernels) -> Tensor<3> {
        let output = match kernels {
            Kernels::Own => {
                let bias = self.bias.val().reshape([1, -1, 1, 1]);
                ops::pointwise(input, self.weight.val()) + bias
            }
            _ => self.forward(input, 1, 1),
        };
        let [batch, filters, height, width] = output.dims();
        let cells = output.permute([0, 2, 3, 1]);
        cells.reshape([batch, height * width * filters / N, N])
    }
}

/// A block of the table.
#[derive(Module, Debug)]
struct Block {
    depthwise: Convolution,
    pointwise: Convolution,
    stride: usize,
}

impl Block {
    fn forward(&self, input: Tensor<4>, kernels: Kernels) -> Tensor<4> {
        match kernels {
            Kernels::Own => kernels::separable(
                input,
                [self.depthwise.weight.val(), self.pointwise.weight.val()],
                [self.depthwise.bias.val(), self.pointwise.bias.val()],
                self.stride,
            ),
            _ => self.by_burn(input),
        }
    }

    fn by_burn(&self, input: Tensor<4>) -> Tensor<4> {
        // An even number of pixels: with stride 2 only the end is padded.
        let before = 2 - self.stride;
        let zeros = (before, 1, before, 1);
        let padded = input.clone().pad(zeros, PadMode::Constant(0.0));
        let [filters, channels, ..] = self.pointwise.weight.dims();
        let output = self.depthwise.forward(padded, self.stride, channels);
        let output = self.pointwise.forward(output, 1, 1);
        let shortcut = match self.stride {
            1 => input,
            stride => module::max_pool2d(input, MaxPoolOptions::new([stride; 2])),
        };
        let more = [(0, filters - channels), (0, 0), (0, 0)];
        activation::relu(output + shortcut.pad(more, PadMode::Constant(0.0)))
    }
}

/// The convolutions that say what is in a grid's cells.
#[derive(Module, Debug)]
struct Head {
    boxes: Convolution,
    scores: Convolution,
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, TensorData};

    use super::*;
    use crate::{table::SIDE, weights::PUBLISHED};

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn own_operations_give_what_burns_give() {
        let device = Device::flex();
        let network = BlazeFace::new(PUBLISHED, &device).unwrap();
        let pixels = (0..2 * 3 * SIDE * SIDE).map(|at| ((at * at) % 997) as f32 / 498.5 - 1.0);
        let pixels = TensorData::new(pixels.collect::<Vec<f32>>(), [2, 3, SIDE, SIDE]);
        let images = Tensor::<4>::from_data(pixels, &device);
        let own = network.forward_by(images.clone(), Kernels::Own);
        let burn = network.forward_by(images, Kernels::Burn);
        assert_eq!(own.values.dims(), [2, 896, 16]);
        assert_eq!(own.scores.dims(), [2, 896]);
        for (own, burn) in [
            (values(own.values), values(burn.values)),
            (values(own.scores), values(burn.scores)),
        ] {
            let off = own.iter().zip(&burn).map(|(a, b)| (a - b).abs());
            let off = off.fold(0.0, f32::max);
            assert!(off < 1e-3, "off by {off}");
        }
    }

    #[test]
    fn images_of_a_batch_do_not_touch_each_other() {
        let device = Device::flex();
        let network = BlazeFace::new(PUBLISHED, &device).unwrap();
        let range = Distribution::Uniform(-1.0, 1.0);
        let batch = Tensor::<4>::random([2, 3, SIDE, SIDE], range, &device);
        let second = batch.clone().narrow(0, 1, 1);
        let alone = network.forward(second).scores;
        let together = network.forward(batch).scores.narrow(0, 1, 1);
        assert_eq!(values(alone), values(together));
    }
}
