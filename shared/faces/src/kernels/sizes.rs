//! The sizes of a layer.

/// The sizes of a layer.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub channels: usize,
    /// `[height, width]` of the input.
    pub input: [usize; 2],
    pub stride: usize,
    /// The side of the window.
    pub side: usize,
}

impl Sizes {
    pub fn output(&self) -> [usize; 2] {
        self.input.map(|side| side / self.stride)
    }

    /// The zeros before each row and column, as TensorFlow's `SAME` has them: the odd one comes at
    /// the end.
    pub fn before(&self) -> usize {
        (self.side - self.stride) / 2
    }

    /// The rows of a padded plane.
    pub fn rows(&self) -> usize {
        self.input[0] + self.side - self.stride
    }

    /// The columns of each remainder of the stride in a padded plane.
    pub fn phase(&self) -> usize {
        (self.input[1] + self.side - self.stride).div_ceil(self.stride)
    }

    pub fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    pub fn output_plane(&self) -> usize {
        self.output()[0] * self.output()[1]
    }
}
