//! How a picture becomes the input of a network.
//!
//! Training, evaluation, `maskline predict` and the labeler all come through here, so
//! that a network in use is shown the same part of a picture as in training, resized in the same
//! way.

use std::ops::RangeInclusive;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use maskline_vision::{planes, resize};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use crate::ops::Kernels;

/// How a network standardizes the pixels of its input: `(pixel − mean) / deviation`, by channel,
/// where pixels are 0–1. It is part of the network's table and of a model's card. The network
/// itself applies it, so that pictures are prepared alike for every network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Standardization {
    /// Red, green and blue.
    pub mean: [f32; CHANNELS],
    pub deviation: [f32; CHANNELS],
}

impl Standardization {
    /// The mean and the standard deviation of ImageNet's pixels, which torchvision's published
    /// weights expect.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        deviation: [0.229, 0.224, 0.225],
    };

    /// `(x − 127) / 128` of bytes, as TensorFlow's EfficientNet-Lite has it.
    pub const SIGNED_UNIT: Self = Self {
        mean: [127.0 / 255.0; CHANNELS],
        deviation: [128.0 / 255.0; CHANNELS],
    };

    /// Checks that pixels become numbers that a network can compute with. The error says what is
    /// wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        let means = self.mean.iter().all(|mean| mean.abs() <= MOST_MEAN);
        let deviations = self.deviation.iter();
        match means && deviations.clone().all(|one| DEVIATIONS.contains(one)) {
            true => Ok(()),
            false => Err(format!(
                "its pixels, which are 0 to 1, have means of {:?} and deviations of {:?}",
                self.mean, self.deviation
            )),
        }
    }

    /// Standardizes images `[batch, 3, side, side]`, RGB, 0–1.
    pub(crate) fn standardize(&self, images: Tensor<4>) -> Tensor<4> {
        let by_channel = |values: [f32; CHANNELS]| {
            let data = TensorData::new(values.to_vec(), [1, CHANNELS, 1, 1]);
            Tensor::<4>::from_data(data, &images.device())
        };
        let (mean, deviation) = (by_channel(self.mean), by_channel(self.deviation));
        (images - mean) / deviation
    }
}

/// The cards of earlier builds name no standardization, and all their networks had ImageNet's.
impl Default for Standardization {
    fn default() -> Self {
        Self::IMAGENET
    }
}

/// The means and deviations that a network can be given. Those in use are 0 to 1.
const MOST_MEAN: f32 = 256.0;
const DEVIATIONS: RangeInclusive<f32> = 1e-3..=256.0;

/// Red, green and blue.
const CHANNELS: usize = 3;

/// The number of values that a picture has as the input of a network whose input is
/// `side` × `side` pixels.
pub fn len(side: u32) -> usize {
    CHANNELS * (side as usize).pow(2)
}

/// Writes a picture as `[3, side, side]`, RGB, 0–255. A picture of another size is
/// stretched to the square first.
///
/// # Panics
/// If `out` does not have exactly [`len`] values.
pub fn write(picture: &RgbImage, side: u32, out: &mut [u8]) {
    if picture.dimensions() == (side, side) {
        planes::write_chw(picture, out);
    } else {
        planes::write_chw(&resize::square(picture, side), out);
    }
}

/// Returns the pictures that [`write()`] put into `pixels` one after the other, as a tensor
/// `[pictures, 3, side, side]` of values 0–1 on `device`.
///
/// # Panics
/// If `pixels` is not a whole number of pictures.
pub fn tensor(pixels: Vec<u8>, side: u32, device: &Device) -> Tensor<4> {
    let pictures = pixels.len() / len(side);
    let side = side as usize;
    let shape = [pictures, CHANNELS, side, side];
    match Kernels::of(device) {
        #[cfg(feature = "gpu")]
        Kernels::Gpu => {
            let count = pixels.len();
            let values = unpacked(pixels, device).narrow(0, 0, count);
            (values / 255.0).reshape(shape)
        }
        Kernels::Own | Kernels::Burn => {
            let pixels = pixels.into_par_iter();
            let values: Vec<f32> = pixels.map(|pixel| f32::from(pixel) / 255.0).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        }
    }
}

/// The bytes as numbers on a device, and up to three more. Four bytes go to the device as one number,
/// because that is a quarter of what four floats are, and kernels know no bytes.
#[cfg(any(test, feature = "gpu"))]
fn unpacked(mut bytes: Vec<u8>, device: &Device) -> Tensor<1> {
    use burn::tensor::Int;

    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let (words, _) = bytes.as_chunks();
    let words: Vec<i32> = words.iter().copied().map(i32::from_le_bytes).collect();
    let count = words.len();
    let words = Tensor::<2, Int>::from_data(TensorData::new(words, [count, 1]), device);
    let shifts = TensorData::new(vec![0i32, 8, 16, 24], [1, 4]);
    let shifts = Tensor::<2, Int>::from_data(shifts, device);
    let shifted = words
        .expand([count, 4])
        .bitwise_right_shift(shifts.expand([count, 4]));
    shifted.bitwise_and_scalar(255).float().reshape([4 * count])
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 9) as u8, (y * 7) as u8, (x * y) as u8])
        })
    }

    #[test]
    fn a_picture_is_stretched_to_the_square_and_lies_plane_by_plane() {
        let side = 8;
        let (mut stretched, mut square) = (vec![0; len(side)], vec![0; len(side)]);
        write(&picture(20, 10), side, &mut stretched);
        write(&resize::square(&picture(20, 10), side), side, &mut square);
        assert_eq!(stretched, square);
        write(&picture(side, side), side, &mut square);
        let pixel = |channel: usize, x: usize, y: usize| square[channel * 64 + y * 8 + x];
        assert_eq!([0, 1, 2].map(|channel| pixel(channel, 5, 2)), [45, 14, 10]);
    }

    #[test]
    fn pictures_become_the_images_of_one_tensor() {
        let pixels = vec![51; 2 * len(4)];
        let tensor = tensor(pixels, 4, &Device::flex());
        assert_eq!(tensor.dims(), [2, 3, 4, 4]);
        let values: Vec<f32> = tensor.into_data().iter().collect();
        assert_eq!(values, [0.2; 96]);
    }

    #[test]
    fn packed_bytes_are_unpacked_in_their_order() {
        let bytes: Vec<u8> = (0..=255).chain([7]).collect();
        let values = unpacked(bytes.clone(), &Device::flex());
        let values: Vec<f32> = values.into_data().iter().collect();
        let expected = bytes.iter().map(|&byte| f32::from(byte));
        assert_eq!(values, expected.chain([0.0; 3]).collect::<Vec<_>>());
    }
}
