//! Pictures as the input of a network.

use image::RgbImage;

/// Writes a picture to `out` as `[3, height, width]`, RGB, 0 to 255.
///
/// # Panics
/// Panics unless `out` is exactly as long as the picture's pixels need.
pub fn write_chw(picture: &RgbImage, out: &mut [u8]) {
    let pixels = picture.width() as usize * picture.height() as usize;
    assert_eq!(
        out.len(),
        3 * pixels,
        "room for three planes of the picture"
    );
    let (red, others) = out.split_at_mut(pixels);
    let (green, blue) = others.split_at_mut(pixels);
    for (at, pixel) in picture.as_raw().chunks_exact(3).enumerate() {
        red[at] = pixel[0];
        green[at] = pixel[1];
        blue[at] = pixel[2];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_follow_one_another_row_by_row() {
        let picture = RgbImage::from_raw(2, 1, vec![0, 51, 255, 255, 0, 102]).unwrap();
        let mut out = [0; 6];
        write_chw(&picture, &mut out);
        assert_eq!(out, [0, 255, 51, 0, 255, 102]);
    }
}
