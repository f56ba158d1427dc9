//! How a batch lies in memory, and how its channels are divided among threads.

use std::mem::MaybeUninit;

use burn::backend::{TensorMetadata, flex::FlexTensor};

/// The number of accumulators of a sum, so that additions need not wait for each other.
pub const SUMS: usize = 32;

/// The least number of values of an image to process at a time. Channels that are
/// smaller are processed several at once.
pub const VALUES: usize = 512;

/// The total of the accumulators, added by halves, which rounds less than adding them
/// one after the other.
#[inline(always)]
pub fn total(sums: &[f32; SUMS]) -> f32 {
    let mut sums = *sums;
    let mut half = SUMS / 2;
    while half > 0 {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
        half /= 2;
    }
    sums[0]
}

/// The map x ↦ `scale` · x + `offset`.
#[derive(Clone, Copy)]
pub struct Affine {
    pub scale: f32,
    pub offset: f32,
}

impl Affine {
    pub fn new(scale: f64, offset: f64) -> Self {
        Self {
            scale: scale as f32,
            offset: offset as f32,
        }
    }

    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        x * self.scale + self.offset
    }
}

/// The layout of a batch whose channels are divided into blocks, one task for each.
pub struct Layout {
    pub channels: usize,
    /// The number of values of one channel of an image.
    pub plane: usize,
    /// The number of channels in a block. The last block may have fewer.
    pub block: usize,
}

impl Layout {
    /// The layout of `input`, `[batch, channels, height, width]`.
    pub fn of(input: &FlexTensor) -> Self {
        let [_, channels, height, width] = input.shape().dims();
        let plane = height * width;
        Self {
            channels,
            plane,
            block: VALUES.div_ceil(plane).min(channels),
        }
    }

    fn blocks(&self) -> usize {
        self.channels.div_ceil(self.block)
    }

    /// For each block, the slice of every image that belongs to it.
    pub fn split<'a>(&self, batch: &'a [f32]) -> Vec<Vec<&'a [f32]>> {
        let mut blocks = vec![Vec::new(); self.blocks()];
        for image in batch.chunks(self.channels * self.plane) {
            for (block, part) in blocks.iter_mut().zip(image.chunks(self.block * self.plane)) {
                block.push(part);
            }
        }
        blocks
    }

    /// Splits as [`split`](Self::split) does, for writing.
    pub fn split_mut<'a>(
        &self,
        batch: &'a mut [MaybeUninit<f32>],
    ) -> Vec<Vec<&'a mut [MaybeUninit<f32>]>> {
        let mut blocks: Vec<Vec<_>> = (0..self.blocks()).map(|_| Vec::new()).collect();
        for image in batch.chunks_mut(self.channels * self.plane) {
            let parts = image.chunks_mut(self.block * self.plane);
            for (block, part) in blocks.iter_mut().zip(parts) {
                block.push(part);
            }
        }
        blocks
    }
}
