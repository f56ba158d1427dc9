//! A picture as the network's input: as large as it fits, with a black border.

use image::RgbImage;
use maskline_messages::Point;
use maskline_vision::resize;

use crate::table::SIDE;

/// Black, as the network sees it.
const BLACK: f32 = -1.0;

/// The place of a picture in the network's input, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letterbox {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Letterbox {
    /// The place of a picture of this size, in the middle. Its longer side takes the whole side of
    /// the input, or that divided by `padding`.
    pub fn new((width, height): (u32, u32), padding: f64) -> Self {
        let longest = f64::from(width.max(height).max(1));
        let scaled = |side: u32| {
            let exact = f64::from(side) * SIDE as f64 / (longest * padding);
            (exact.round() as usize).clamp(1, SIDE)
        };
        let (width, height) = (scaled(width), scaled(height));
        Self {
            left: (SIDE - width) / 2,
            top: (SIDE - height) / 2,
            width,
            height,
        }
    }

    /// Writes the picture to its place, and black around it, as `[3, 128, 128]`, RGB, −1 to 1.
    pub fn input(&self, picture: &RgbImage) -> Vec<f32> {
        let scaled = resize::stretched(picture, self.width as u32, self.height as u32);
        let mut input = vec![BLACK; 3 * SIDE * SIDE];
        let rows = scaled.as_raw().chunks_exact(3 * self.width);
        for (y, row) in rows.enumerate() {
            let start = (self.top + y) * SIDE + self.left;
            for (channel, plane) in input.chunks_exact_mut(SIDE * SIDE).enumerate() {
                let values = &mut plane[start..][..self.width];
                for (value, pixel) in values.iter_mut().zip(row.as_chunks::<3>().0) {
                    *value = f32::from(pixel[channel]) / 127.5 - 1.0;
                }
            }
        }
        input
    }

    /// A point of the network's input, in pixels, as shares of the picture.
    pub fn to_picture(self, [x, y]: [f32; 2]) -> Point {
        Point {
            x: (x - self.left as f32) / self.width as f32,
            y: (y - self.top as f32) / self.height as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn a_picture_keeps_its_aspect_and_lies_in_the_middle() {
        let wide = Letterbox::new((400, 200), 1.0);
        assert_eq!((wide.left, wide.top), (0, 32));
        assert_eq!((wide.width, wide.height), (128, 64));
        let padded = Letterbox::new((300, 300), 1.5);
        assert_eq!((padded.left, padded.top), (21, 21));
        assert_eq!((padded.width, padded.height), (85, 85));
        let strip = Letterbox::new((1, 4000), 1.0);
        assert_eq!((strip.width, strip.height), (1, 128));
    }

    #[test]
    fn the_input_has_the_picture_in_planes_and_black_around_it() {
        let picture = RgbImage::from_pixel(200, 100, Rgb([255, 0, 51]));
        let input = Letterbox::new((200, 100), 1.0).input(&picture);
        let at = |channel: usize, x: usize, y: usize| input[(channel * SIDE + y) * SIDE + x];
        let inside = [0, 1, 2].map(|channel| at(channel, 0, 32));
        assert_eq!(inside, [1.0, -1.0, 51.0 / 127.5 - 1.0]);
        assert_eq!([0, 1, 2].map(|channel| at(channel, 127, 31)), [BLACK; 3]);
        assert_eq!([0, 1, 2].map(|channel| at(channel, 127, 96)), [BLACK; 3]);
    }

    #[test]
    fn points_are_shares_of_the_picture() {
        let of = Letterbox::new((200, 100), 1.0);
        assert_eq!(of.to_picture([64.0, 64.0]), Point { x: 0.5, y: 0.5 });
        assert_eq!(of.to_picture([128.0, 32.0]), Point { x: 1.0, y: 0.0 });
        assert!(of.to_picture([0.0, 0.0]).y < 0.0);
    }
}
