//! Converts the output of the decoders to RGB of 8 bit.

use image::{ColorType, RgbImage};
use maskline_messages::Reason;

/// Scales samples of 16 bits (in the machine's byte order) to 8 bits, in place, and returns
/// the colour type that the pixels have then.
pub fn eight_bits(pixels: &mut Vec<u8>, color: ColorType) -> Result<ColorType, Reason> {
    let narrow = match color {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => return Ok(color),
        ColorType::L16 => ColorType::L8,
        ColorType::La16 => ColorType::La8,
        ColorType::Rgb16 => ColorType::Rgb8,
        ColorType::Rgba16 => ColorType::Rgba8,
        other => {
            return Err(Reason::Unsupported {
                format: format!("a picture of {other:?} samples"),
            });
        }
    };
    let samples = pixels.len() / 2;
    for at in 0..samples {
        let sample = u32::from(u16::from_ne_bytes([pixels[at * 2], pixels[at * 2 + 1]]));
        pixels[at] = ((sample * 255 + 32_767) / 65_535) as u8;
    }
    pixels.truncate(samples);
    Ok(narrow)
}

/// Makes pixels opaque if none of them is to be seen at all.
pub fn opaque_if_invisible(pixels: &mut [u8], color: ColorType) {
    if color == ColorType::Rgba8 {
        let pixels = pixels.as_chunks_mut::<4>().0;
        if pixels.iter().all(|pixel| pixel[3] == 0) {
            pixels.iter_mut().for_each(|pixel| pixel[3] = 255);
        }
    }
}

/// Converts pixels of 8 bits a channel to RGB: grey goes to all three channels, and alpha is
/// laid over white. Pixels of at least three bytes are converted in place.
pub fn from(pixels: Vec<u8>, color: ColorType) -> Vec<u8> {
    match color {
        ColorType::L8 => grown(&pixels, |[grey]: [u8; 1]| [grey; 3]),
        ColorType::La8 => grown(&pixels, |[grey, alpha]: [u8; 2]| {
            [over_white(grey, alpha); 3]
        }),
        ColorType::Rgba8 => shrunk(pixels, |[r, g, b, alpha]: [u8; 4]| {
            [r, g, b].map(|channel| over_white(channel, alpha))
        }),
        _ => pixels,
    }
}

/// Converts pixels of fewer than three bytes.
fn grown<const N: usize>(pixels: &[u8], convert: impl Fn([u8; N]) -> [u8; 3]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(pixels.len() / N * 3);
    for &pixel in pixels.as_chunks::<N>().0 {
        rgb.extend_from_slice(&convert(pixel));
    }
    rgb
}

/// Converts pixels of at least three bytes in place.
fn shrunk<const N: usize>(mut pixels: Vec<u8>, convert: impl Fn([u8; N]) -> [u8; 3]) -> Vec<u8> {
    const { assert!(N >= 3, "a pixel must not be written before it is read") };
    let count = pixels.len() / N;
    for at in 0..count {
        let pixel = pixels[at * N..][..N].try_into().expect("N bytes");
        pixels[at * 3..][..3].copy_from_slice(&convert(pixel));
    }
    pixels.truncate(count * 3);
    pixels
}

/// Lays a channel over white.
fn over_white(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// Halves the picture in place until no side is longer than `max_side`.
pub fn halved_to(mut picture: RgbImage, max_side: u32) -> RgbImage {
    while picture.width().max(picture.height()) > max_side {
        picture = halved(picture);
    }
    picture
}

/// Each pixel becomes the mean of two by two pixels. At an odd edge the edge's pixels
/// count twice.
fn halved(picture: RgbImage) -> RgbImage {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (new_width, new_height) = (width.div_ceil(2), height.div_ceil(2));
    let mut pixels = picture.into_raw();
    for y in 0..new_height {
        let upper = 2 * y * width;
        let lower = (2 * y + 1).min(height - 1) * width;
        for x in 0..new_width {
            let (left, right) = (2 * x, (2 * x + 1).min(width - 1));
            for channel in 0..3 {
                let at = |pixel: usize| u32::from(pixels[pixel * 3 + channel]);
                let sum =
                    at(upper + left) + at(upper + right) + at(lower + left) + at(lower + right);
                // This never overwrites a pixel that is still to be read.
                pixels[(y * new_width + x) * 3 + channel] = ((sum + 2) / 4) as u8;
            }
        }
    }
    pixels.truncate(new_width * new_height * 3);
    pixels.shrink_to_fit();
    let (new_width, new_height) = (picture_side(new_width), picture_side(new_height));
    RgbImage::from_raw(new_width, new_height, pixels).expect("three bytes a pixel")
}

fn picture_side(pixels: usize) -> u32 {
    u32::try_from(pixels).expect("half of a picture's side")
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn bytes(samples: &[u16]) -> Vec<u8> {
        samples
            .iter()
            .flat_map(|sample| sample.to_ne_bytes())
            .collect()
    }

    #[test]
    fn every_colour_type_becomes_rgb() {
        let cases = [
            (ColorType::L8, vec![7, 200], vec![7, 7, 7, 200, 200, 200]),
            (
                ColorType::La8,
                vec![0, 255, 0, 0],
                vec![0, 0, 0, 255, 255, 255],
            ),
            (ColorType::Rgba8, vec![255, 0, 0, 128], vec![255, 127, 127]),
            // Samples are scaled by 1/257, not cut off.
            (
                ColorType::L16,
                bytes(&[257 * 9, 65_535]),
                vec![9, 9, 9, 255, 255, 255],
            ),
            (ColorType::La16, bytes(&[0, 65_535]), vec![0, 0, 0]),
            (
                ColorType::Rgb16,
                bytes(&[257, 514, 771, 0, 0, 257]),
                vec![1, 2, 3, 0, 0, 1],
            ),
            (
                ColorType::Rgba16,
                bytes(&[257, 514, 771, 0]),
                vec![255, 255, 255],
            ),
        ];
        for (color, pixels, expected) in cases {
            let mut pixels = pixels;
            let narrow = eight_bits(&mut pixels, color).unwrap();
            assert_eq!(from(pixels, narrow), expected, "{color:?}");
        }
        let float = eight_bits(&mut vec![0; 12], ColorType::Rgb32F).unwrap_err();
        assert_eq!(float.code(), "unsupported");
    }

    #[test]
    fn halving_averages_and_rounds_sides_up() {
        let picture = RgbImage::from_fn(5, 3, |x, y| Rgb([(x * 10 + y * 100) as u8; 3]));
        let half = halved_to(picture, 3);
        assert_eq!(half.dimensions(), (3, 2));
        // The means of 0, 10, 100 and 110, and of the corner's 240 alone.
        assert_eq!(half.get_pixel(0, 0).0, [55; 3]);
        assert_eq!(half.get_pixel(2, 1).0, [240; 3]);
        let line = RgbImage::from_pixel(9, 1, Rgb([4; 3]));
        assert_eq!(halved_to(line, 2).dimensions(), (2, 1));
    }
}
