//! BlazeFace's short-range network as a table, after Bazarevsky et al., *BlazeFace: Sub-millisecond
//! Neural Face Detection on Mobile GPUs* (2019). The numbers of channels are those of the published
//! weights, which are more than the paper's.

/// The width and the height of the network's input in pixels.
pub const SIDE: usize = 128;

/// The channels of the first convolution, which is 5 × 5 with stride 2.
pub const STEM: usize = 24;

/// One block: a depthwise convolution of 3 × 3, a pointwise one, and a shortcut around both.
pub struct Block {
    /// The channels of its output. The shortcut's are fewer, and the others get nothing from it.
    pub channels: usize,
    /// If it is 2, the shortcut takes the largest of two by two values.
    pub stride: usize,
}

const fn block(channels: usize, stride: usize) -> Block {
    Block { channels, stride }
}

pub const BLOCKS: [Block; 16] = [
    block(24, 1),
    block(28, 1),
    block(32, 2),
    block(36, 1),
    block(42, 1),
    block(48, 2),
    block(56, 1),
    block(64, 1),
    block(72, 1),
    block(80, 1),
    block(88, 1),
    block(96, 2),
    block(96, 1),
    block(96, 1),
    block(96, 1),
    block(96, 1),
];

/// A grid of places at which the network looks for faces.
pub struct Grid {
    pub name: &'static str,
    /// How many of [`BLOCKS`] come before it.
    pub blocks: usize,
    /// Its rows and columns.
    pub cells: usize,
    /// The faces that each cell can find.
    pub anchors: usize,
}

pub const GRIDS: [Grid; 2] = [
    Grid {
        name: "fine",
        blocks: 11,
        cells: 16,
        anchors: 2,
    },
    Grid {
        name: "coarse",
        blocks: 16,
        cells: 8,
        anchors: 6,
    },
];

/// The values of one anchor's face: the centre, the width and the height of its box, and six key
/// points.
pub const VALUES: usize = 4 + 2 * 6;
