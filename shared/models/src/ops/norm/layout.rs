//! How a batch lies in memory, and is shared out among threads by channel.

use std::mem::MaybeUninit;

use burn::backend::{TensorMetadata, flex::FlexTensor};

/// Accumulators of a sum, so that its additions need not wait for each other.
pub const SUMS: usize = 32;

/// Values of one image that make it worth to visit it: small planes are taken
/// several channels at a time.
pub const VALUES: usize = 512;

/// By halves, which rounds less than one after the other.
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

/// `scale · x + offset`
#[derive(Clone, Copy)]
pub struct Line {
    pub scale: f32,
    pub offset: f32,
}

impl Line {
    pub fn new(scale: f64, offset: f64) -> Self {
        Self {
            scale: scale as f32,
            offset: offset as f32,
        }
    }

    #[inline(always)]
    pub fn at(self, x: f32) -> f32 {
        x * self.scale + self.offset
    }
}

/// A batch's layout, and its channels in blocks that threads share out.
pub struct Layout {
    pub channels: usize,
    pub plane: usize,
    /// Channels of a block; the last may have less.
    pub block: usize,
}

impl Layout {
    pub fn of(input: &FlexTensor) -> Self {
        let [_, channels, height, width] = input.shape().dims();
        let plane = height * width;
        Self {
            channels,
            plane,
            block: VALUES.div_ceil(plane).min(channels),
        }
    }

    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(self.block)
    }

    /// For each block, its part of every image.
    pub fn split<'a>(&self, batch: &'a [f32]) -> Vec<Vec<&'a [f32]>> {
        let mut blocks = vec![Vec::new(); self.blocks()];
        for image in batch.chunks(self.channels * self.plane) {
            for (block, part) in blocks.iter_mut().zip(image.chunks(self.block * self.plane)) {
                block.push(part);
            }
        }
        blocks
    }

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
