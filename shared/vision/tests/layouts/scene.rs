//! A smooth scene, so that it stays the same however its channels are sampled.

use image::{Rgb, RgbImage};

use super::writer::segment;

/// The channels in which a picture is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    Grey,
    YCbCr,
    Rgb,
    /// In CMYK, 0 is full ink.
    Cmyk,
    /// C, M and Y as luma and chroma, and K.
    Ycck,
}

/// Red, green and blue from 0 to 255 at a place in the picture, from 0 to 1.
fn color(x: f64, y: f64) -> [f64; 3] {
    [
        130.0 + 90.0 * (2.2 * x + 0.4).sin() * (1.3 * y).cos(),
        120.0 + 80.0 * (1.9 * y - 0.5).sin(),
        110.0 + 70.0 * (1.4 * x + 1.7 * y).cos(),
    ]
}

/// The share of black, 0 for full ink.
fn black(x: f64, y: f64) -> f64 {
    190.0 + 50.0 * (1.1 * x - 0.8 * y).sin()
}

fn luma_and_chroma([r, g, b]: [f64; 3]) -> [f64; 3] {
    let luma = 0.299 * r + 0.587 * g + 0.114 * b;
    [luma, 128.0 + (b - luma) / 1.772, 128.0 + (r - luma) / 1.402]
}

impl Channels {
    /// The channels at a place. Pictures with fewer than four ignore the last.
    pub fn at(self, x: f64, y: f64) -> [f64; 4] {
        let color = color(x, y);
        let [a, b, c] = match self {
            Self::Grey | Self::YCbCr => luma_and_chroma(color),
            Self::Rgb | Self::Cmyk => color,
            Self::Ycck => luma_and_chroma(color.map(|channel| 255.0 - channel)),
        };
        [a, b, c, black(x, y)]
    }

    /// The picture as it must be decoded.
    pub fn picture(self, width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let x = (f64::from(x) + 0.5) / f64::from(width);
            let y = (f64::from(y) + 0.5) / f64::from(height);
            let color = match self {
                Self::Grey => [luma_and_chroma(color(x, y))[0]; 3],
                Self::YCbCr | Self::Rgb => color(x, y),
                Self::Cmyk | Self::Ycck => color(x, y).map(|ink| ink * black(x, y) / 255.0),
            };
            Rgb(color.map(|channel| channel.round() as u8))
        })
    }

    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::YCbCr | Self::Rgb => 3,
            Self::Cmyk | Self::Ycck => 4,
        }
    }

    pub fn ids(self) -> [u8; 4] {
        match self {
            Self::Rgb => *b"RGB ",
            Self::Cmyk => *b"CMYK",
            _ => [1, 2, 3, 4],
        }
    }

    /// The segments that say which channels they are: JFIF's or Adobe's.
    pub fn segments(self) -> Vec<u8> {
        let mut segments = vec![];
        match self {
            Self::Grey | Self::YCbCr => {
                segment(&mut segments, 0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
            }
            Self::Rgb | Self::Cmyk => segment(&mut segments, 0xEE, b"Adobe\0\x64\0\0\0\0\0"),
            Self::Ycck => segment(&mut segments, 0xEE, b"Adobe\0\x64\0\0\0\0\x02"),
        }
        segments
    }
}
