//! Resizes pictures with the machine's SIMD instructions. The arithmetic is on integers,
//! so every machine gives the same pixels.

use std::cell::RefCell;

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use image::RgbImage;

/// A rectangle of a picture, in pixels and fractions of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Crop {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// Shrinks the picture to at most `max_side` pixels on its longest side. It keeps the
/// aspect ratio and at least one pixel a side, and never enlarges.
pub fn bounded(picture: &RgbImage, max_side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= max_side {
        return picture.clone();
    }
    let scaled = |side: u32| {
        let exact = u64::from(side) * u64::from(max_side);
        let rounded = (exact + u64::from(longest) / 2) / u64::from(longest);
        u32::try_from(rounded).unwrap_or(max_side).max(1)
    };
    stretch(picture, None, scaled(width), scaled(height))
}

/// Stretches the picture to `side` × `side` pixels.
pub fn square(picture: &RgbImage, side: u32) -> RgbImage {
    stretched(picture, side, side)
}

/// Stretches the picture to `width` × `height` pixels.
pub fn stretched(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    stretch(picture, None, width, height)
}

/// Stretches a part of the picture, or all of it if `part` is `None`, to `width` ×
/// `height` pixels. The filter is bilinear and antialiased. A part that reaches beyond
/// the picture is cut off there.
pub(crate) fn stretch(picture: &RgbImage, part: Option<Crop>, width: u32, height: u32) -> RgbImage {
    thread_local! {
        // A resizer keeps its buffers for the next picture.
        static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
    }
    let (from_width, from_height) = picture.dimensions();
    if from_width == 0 || from_height == 0 {
        return RgbImage::new(width, height);
    }
    let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    if let Some(part) = part {
        let (right, bottom) = (f64::from(from_width), f64::from(from_height));
        let left = part.left.clamp(0.0, right - 1.0);
        let top = part.top.clamp(0.0, bottom - 1.0);
        options = options.crop(
            left,
            top,
            part.width.clamp(1.0, right - left),
            part.height.clamp(1.0, bottom - top),
        );
    }
    let from = ImageRef::new(from_width, from_height, picture.as_raw(), PixelType::U8x3)
        .expect("a picture's buffer fits its size");
    let mut to = Image::new(width, height, PixelType::U8x3);
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize(&from, &mut to, &options))
        .expect("both are RGB, and the part lies within");
    RgbImage::from_raw(width, height, to.into_vec()).expect("made for this size")
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let share = |at: u32, of: u32| (at * 255 / of.max(2)) as u8;
            Rgb([share(x, width), share(y, height), (x * 31 + y * 17) as u8])
        })
    }

    #[test]
    fn bounded_keeps_the_aspect_and_never_enlarges() {
        let cases = [
            ((1000, 500), 100, (100, 50)),
            ((500, 1000), 100, (50, 100)),
            ((100, 100), 100, (100, 100)),
            ((30, 20), 100, (30, 20)),
            ((5000, 3), 100, (100, 1)),
        ];
        for ((width, height), max_side, expected) in cases {
            let picture = bounded(&gradient(width, height), max_side);
            assert_eq!(picture.dimensions(), expected);
        }
    }

    #[test]
    fn square_stretches() {
        assert_eq!(square(&gradient(40, 90), 64).dimensions(), (64, 64));
        let same = gradient(64, 64);
        assert_eq!(square(&same, 64), same);
    }

    #[test]
    fn a_part_is_cut_off_at_the_pictures_edge() {
        let picture = RgbImage::from_fn(10, 10, |x, _| Rgb([if x < 5 { 0 } else { 200 }; 3]));
        let part = Crop {
            left: 6.0,
            top: -3.0,
            width: 100.0,
            height: 100.0,
        };
        let right = stretch(&picture, Some(part), 4, 4);
        assert!(right.pixels().all(|pixel| pixel.0 == [200; 3]));
    }

    #[test]
    fn simd_and_scalar_arithmetic_give_the_same_pixels() {
        let picture = gradient(331, 247);
        let from = ImageRef::new(331, 247, picture.as_raw(), PixelType::U8x3).unwrap();
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        let mut plain = Image::new(112, 96, PixelType::U8x3);
        let mut resizer = Resizer::new();
        // SAFETY: every processor can do without extensions.
        unsafe { resizer.set_cpu_extensions(fast_image_resize::CpuExtensions::None) };
        resizer.resize(&from, &mut plain, &options).unwrap();
        assert_eq!(stretch(&picture, None, 112, 96).as_raw(), plain.buffer());
    }
}
