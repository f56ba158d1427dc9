//! A face of ellipses, which `data/convert.py` draws in the same way.

use image::{Rgb, RgbImage};

/// The side of [`face`].
pub const SIDE: u32 = 128;

/// The centre, the radii and the colour of each ellipse, from back to front.
const ELLIPSES: [([i32; 2], [i32; 2], [u8; 3]); 11] = [
    ([64, 50], [34, 40], [60, 40, 30]),
    ([64, 66], [28, 38], [215, 165, 135]),
    ([64, 118], [40, 22], [40, 60, 120]),
    ([52, 50], [7, 2], [70, 45, 35]),
    ([76, 50], [7, 2], [70, 45, 35]),
    ([52, 58], [6, 3], [245, 245, 245]),
    ([76, 58], [6, 3], [245, 245, 245]),
    ([52, 58], [3, 3], [40, 25, 20]),
    ([76, 58], [3, 3], [40, 25, 20]),
    ([64, 72], [4, 5], [190, 135, 110]),
    ([64, 86], [11, 4], [165, 70, 75]),
];

/// The colour around the face.
pub const BACKGROUND: Rgb<u8> = Rgb([96, 120, 140]);

/// A face whose eyes are at (52, 58) and (76, 58), of 128 × 128 pixels.
pub fn face() -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let (x, y) = (x as i32, y as i32);
        let inside = |([left, top], [a, b], _): &&([i32; 2], [i32; 2], [u8; 3])| {
            ((x - left) * b).pow(2) + ((y - top) * a).pow(2) <= (a * b).pow(2)
        };
        let front = ELLIPSES.iter().rev().find(inside);
        front.map_or(BACKGROUND, |&(_, _, colour)| Rgb(colour))
    })
}
