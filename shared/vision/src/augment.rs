//! Random augmentation for training: the same picture gives other pixels each time.
//!
//! It changes what must not matter to the network: where the face lies, how large it
//! is, which way it faces, the light, how sharp the picture is, and how it was compressed. In
//! scraped data sets sharpness and framing often correlate with the class, and a network would
//! learn them first.

use std::ops::Range;

use image::RgbImage;
use rand::{Rng, RngExt};

use crate::{
    corruption,
    resize::{self, Crop},
    view::Part,
};

/// The least share of the area of what the network is to be shown that a crop has.
const MIN_AREA: f32 = 0.55;
/// The aspect ratio of a crop differs from that of its picture by at most this factor.
const MAX_STRETCH: f32 = 1.25;
/// The largest rotation to either side, in degrees.
const MAX_ROTATION: f32 = 12.0;
/// The share of pictures that are rotated. Rotating costs sharpness and time.
const ROTATED: f64 = 0.5;
/// The share of pictures that lose resolution.
const COARSE: f64 = 0.6;
/// The least share of the resolution that they keep.
const MIN_RESOLUTION: f32 = 0.3;
/// The share of pictures that are sharpened, as cameras and editors do.
const SHARPENED: f64 = 0.4;
/// The most of the difference from a soft copy that is added to them.
const MOST_SHARPENING: f32 = 2.0;
/// The share of pictures that are compressed once more as a JPEG, and its quality.
const COMPRESSED: f64 = 0.3;
const QUALITY: Range<u8> = 15..85;
/// The most by which each factor differs from 1, to either side.
const BRIGHTNESS: f32 = 0.25;
const CONTRAST: f32 = 0.25;
const SATURATION: f32 = 0.3;
const TINT: f32 = 0.08;

/// A random view of a picture for training, `side` × `side` pixels. `part` is what the network
/// is to be shown of the picture. What the picture has around it may be seen, too, so that a box
/// around a face is somewhat larger or smaller, and lies elsewhere, each time. Crop, flip,
/// rotation, colours, sharpness and compression are drawn from `random`; the same state of it gives
/// the same view.
pub fn training(picture: &RgbImage, part: &Part, side: u32, random: &mut impl Rng) -> RgbImage {
    let crop = random_crop(picture, part, random);
    let pose = Pose::draw(random);
    let colours = Colours::draw(random);
    let view = if random.random_bool(COARSE) {
        let left = random.random_range(MIN_RESOLUTION..0.9);
        let coarse = ((side as f32 * left) as u32).max(1);
        let coarse = resize::stretch(picture, Some(crop), coarse, coarse);
        resize::square(&coarse, side)
    } else {
        resize::stretch(picture, Some(crop), side, side)
    };
    let mut view = pose.apply(view);
    colours.apply(&mut view);
    if random.random_bool(SHARPENED) {
        sharpen(&mut view, random.random_range(0.0..MOST_SHARPENING));
    }
    if random.random_bool(COMPRESSED) {
        view = corruption::compressed(&view, random.random_range(QUALITY));
    }
    view
}

/// Adds so much of the difference from a soft copy of half the resolution: an unsharp mask.
fn sharpen(view: &mut RgbImage, amount: f32) {
    let (width, height) = view.dimensions();
    let soft = resize::stretched(view, width.div_ceil(2), height.div_ceil(2));
    let soft = resize::stretched(&soft, width, height);
    for (value, soft) in view.iter_mut().zip(soft.iter()) {
        let (own, soft) = (f32::from(*value), f32::from(*soft));
        *value = (own + amount * (own - soft)).round().clamp(0.0, 255.0) as u8;
    }
}

/// A random crop after Szegedy et al., "Going Deeper with Convolutions" (2014). It
/// keeps more of the picture than theirs, because a mask covers half of it and must stay
/// visible.
fn random_crop(picture: &RgbImage, part: &Part, random: &mut impl Rng) -> Crop {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let share = part.width * part.height / (width * height).max(1.0);
    let least = (MIN_AREA * share).clamp(f32::MIN_POSITIVE, 1.0);
    let scale = random.random_range(least..=1.0).sqrt();
    let stretch = random.random_range(1.0 / MAX_STRETCH..=MAX_STRETCH).sqrt();
    let crop_width = (width * scale * stretch).min(width);
    let crop_height = (height * scale / stretch).min(height);
    Crop {
        left: f64::from((width - crop_width) * random.random::<f32>()),
        top: f64::from((height - crop_height) * random.random::<f32>()),
        width: f64::from(crop_width),
        height: f64::from(crop_height),
    }
}

/// The direction of the face: mirrored or not, and rotated.
struct Pose {
    flipped: bool,
    /// The rotation, in radians clockwise.
    angle: f32,
}

impl Pose {
    fn draw(random: &mut impl Rng) -> Self {
        let flipped = random.random_bool(0.5);
        let degrees = random.random_range(-MAX_ROTATION..=MAX_ROTATION);
        let rotated = random.random_bool(ROTATED);
        Self {
            flipped,
            angle: if rotated { degrees.to_radians() } else { 0.0 },
        }
    }

    fn apply(&self, mut view: RgbImage) -> RgbImage {
        if self.flipped {
            image::imageops::flip_horizontal_in_place(&mut view);
        }
        if self.angle == 0.0 {
            view
        } else {
            rotated(&view, self.angle)
        }
    }
}

/// Rotates clockwise around the centre, with bilinear interpolation. Pixels from outside
/// the picture repeat its edge.
fn rotated(view: &RgbImage, angle: f32) -> RgbImage {
    /// The number of fractional bits of a position.
    const FRACTION: u32 = 8;
    const ONE: i32 = 1 << FRACTION;
    let (width, height) = (view.width() as i32, view.height() as i32);
    let fixed = |value: f32| (value * ONE as f32).round() as i32;
    let (sin, cos) = (fixed(angle.sin()), fixed(angle.cos()));
    let (middle_x, middle_y) = (width - 1, height - 1);
    let pixels = view.as_raw();
    let mut out = Vec::with_capacity(pixels.len());
    for y in 0..height {
        for x in 0..width {
            // Twice the distance from the centre, which may lie between pixels.
            let (dx, dy) = (2 * x - middle_x, 2 * y - middle_y);
            let from_x = (cos * dx + sin * dy + middle_x * ONE) / 2;
            let from_y = (cos * dy - sin * dx + middle_y * ONE) / 2;
            let from_x = from_x.clamp(0, middle_x * ONE);
            let from_y = from_y.clamp(0, middle_y * ONE);
            let (left, top) = (from_x >> FRACTION, from_y >> FRACTION);
            let (right, bottom) = ((left + 1).min(middle_x), (top + 1).min(middle_y));
            let (far_x, far_y) = (from_x & (ONE - 1), from_y & (ONE - 1));
            let index = |x: i32, y: i32| ((y * width + x) * 3) as usize;
            let corners = [
                (index(left, top), (ONE - far_x) * (ONE - far_y)),
                (index(right, top), far_x * (ONE - far_y)),
                (index(left, bottom), (ONE - far_x) * far_y),
                (index(right, bottom), far_x * far_y),
            ];
            for channel in 0..3 {
                let sum: i32 = corners
                    .iter()
                    .map(|&(at, weight)| i32::from(pixels[at + channel]) * weight)
                    .sum();
                out.push(((sum + ONE * ONE / 2) >> (2 * FRACTION)) as u8);
            }
        }
    }
    RgbImage::from_raw(view.width(), view.height(), out).expect("three bytes for each pixel")
}

/// The light and the colours: one table for each channel, and the saturation.
struct Colours {
    tables: [[u8; 256]; 3],
    /// The share of its grey that is mixed into a pixel, in 1/256. A negative share makes the
    /// colours stronger.
    grey: i32,
}

impl Colours {
    fn draw(random: &mut impl Rng) -> Self {
        let mut around_one = |spread: f32| random.random_range(1.0 - spread..=1.0 + spread);
        let brightness = around_one(BRIGHTNESS);
        let contrast = around_one(CONTRAST);
        let saturation = around_one(SATURATION);
        let tables = std::array::from_fn(|_| {
            let gain = brightness * around_one(TINT);
            std::array::from_fn(|value| {
                let value = (value as f32 - 128.0) * contrast + 128.0;
                (value * gain).round().clamp(0.0, 255.0) as u8
            })
        });
        Self {
            tables,
            grey: ((1.0 - saturation) * 256.0) as i32,
        }
    }

    fn apply(&self, view: &mut RgbImage) {
        for pixel in view.chunks_exact_mut(3) {
            let lit: [i32; 3] = std::array::from_fn(|channel| {
                self.tables[channel][usize::from(pixel[channel])].into()
            });
            // Roughly the luma of ITU-R BT.601, in 8 bits: random colours need no more.
            let luma = (77 * lit[0] + 150 * lit[1] + 29 * lit[2]) >> 8;
            for (channel, lit) in pixel.iter_mut().zip(lit) {
                *channel = (lit + (((luma - lit) * self.grey) >> 8)).clamp(0, 255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn picture() -> RgbImage {
        RgbImage::from_fn(120, 90, |x, y| Rgb([(x * 2) as u8, (y * 2) as u8, 128]))
    }

    fn view(seed: u64) -> RgbImage {
        view_of(&Part::whole(120, 90), seed)
    }

    fn view_of(part: &Part, seed: u64) -> RgbImage {
        training(&picture(), part, 48, &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn the_same_seed_gives_the_same_view_and_another_seed_another_view() {
        assert_eq!(view(1).dimensions(), (48, 48));
        assert_eq!(view(1), view(1));
        assert_ne!(view(1), view(2));
    }

    #[test]
    fn about_half_of_the_views_are_mirrored() {
        // Red grows to the right in the picture.
        let redder_left = (0..200)
            .map(view)
            .filter(|view| view.get_pixel(4, 24)[0] > view.get_pixel(43, 24)[0])
            .count();
        assert!((60..140).contains(&redder_left), "{redder_left} of 200");
    }

    #[test]
    fn a_crop_is_larger_and_smaller_than_the_part_and_lies_in_the_picture() {
        let picture = RgbImage::new(100, 100);
        let part = Part {
            left: 10.0,
            top: 10.0,
            width: 80.0,
            height: 80.0,
        };
        let mut random = StdRng::seed_from_u64(4);
        let crops: Vec<Crop> = (0..500)
            .map(|_| random_crop(&picture, &part, &mut random))
            .collect();
        let areas: Vec<f64> = crops.iter().map(|crop| crop.width * crop.height).collect();
        let least = f64::from(MIN_AREA) * 6400.0;
        assert!(
            areas
                .iter()
                .all(|area| (least - 1.0..=10_000.1).contains(area))
        );
        assert!(areas.iter().any(|&area| area < 4500.0));
        assert!(areas.iter().any(|&area| area > 9000.0));
        assert!(crops.iter().all(|crop| {
            let (right, bottom) = (crop.left + crop.width, crop.top + crop.height);
            crop.left >= 0.0 && crop.top >= 0.0 && right <= 100.01 && bottom <= 100.01
        }));
    }

    #[test]
    fn a_view_has_about_the_brightness_of_its_picture() {
        let mean = |picture: &RgbImage| {
            let sum: u64 = picture.iter().map(|&value| u64::from(value)).sum();
            sum as f64 / picture.len() as f64
        };
        let original = mean(&picture());
        for seed in 0..100 {
            let mean = mean(&view(seed));
            assert!((mean - original).abs() < 80.0, "{mean} was {original}");
        }
    }

    #[test]
    fn sharpening_widens_an_edge_and_leaves_what_is_even() {
        let edge = RgbImage::from_fn(40, 40, |x, _| Rgb([if x < 20 { 100 } else { 150 }; 3]));
        let mut sharp = edge.clone();
        sharpen(&mut sharp, 1.0);
        assert_eq!(sharp.get_pixel(2, 20), edge.get_pixel(2, 20));
        assert!(sharp.get_pixel(19, 20)[0] < 100, "{sharp:?}");
        assert!(sharp.get_pixel(20, 20)[0] > 150, "{sharp:?}");
        let mut same = edge.clone();
        sharpen(&mut same, 0.0);
        assert_eq!(same, edge);
    }

    #[test]
    fn rotation_moves_pixels_clockwise_around_the_centre() {
        let mut dot = RgbImage::new(41, 41);
        dot.put_pixel(40, 20, Rgb([255; 3]));
        let quarter = rotated(&dot, std::f32::consts::FRAC_PI_2);
        assert_eq!(quarter.get_pixel(20, 40).0, [255; 3]);
        assert_eq!(rotated(&picture(), 0.0), picture());
    }

    #[test]
    fn the_smallest_picture_has_views_too() {
        let (dot, part) = (RgbImage::from_pixel(1, 1, Rgb([9; 3])), Part::whole(1, 1));
        let view = training(&dot, &part, 8, &mut StdRng::seed_from_u64(1));
        assert_eq!(view.dimensions(), (8, 8));
    }
}
