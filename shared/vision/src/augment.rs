//! Chance for training: the same picture, never twice the same pixels.
//!
//! What changes is what must not matter to the network: where the face lies, how
//! large it is, which way it looks, the light, and how many pixels the web had
//! of it. The last is there because in scraped data sets resolution and framing
//! often go with the class, and a network would learn them first.

use image::RgbImage;
use rand::{Rng, RngExt};

use crate::resize::{self, Crop};

/// The least share of the picture's area that a crop keeps.
const LEAST_AREA: f32 = 0.55;
/// The aspect of a crop differs from the picture's by at most this factor.
const MOST_STRETCH: f32 = 1.25;
/// Degrees to either side.
const MOST_ROTATION: f32 = 12.0;
/// How many pictures are turned: turning costs sharpness and time.
const ROTATED: f64 = 0.5;
/// How many pictures lose resolution, and what is left of it at least.
const COARSE: f64 = 0.2;
const LEAST_RESOLUTION: f32 = 0.3;
/// Factors around 1, or shares of the full range, to either side.
const BRIGHTNESS: f32 = 0.25;
const CONTRAST: f32 = 0.25;
const SATURATION: f32 = 0.3;
const TINT: f32 = 0.08;

/// One training view of a picture, `side` × `side` pixels: a random crop, flip,
/// small rotation, colours and resolution. The same state of `random`, the same
/// view.
pub fn training(picture: &RgbImage, side: u32, random: &mut impl Rng) -> RgbImage {
    let crop = random_crop(picture, random);
    let pose = Pose::draw(random);
    let colours = Colours::draw(random);
    let view = if random.random_bool(COARSE) {
        let left = random.random_range(LEAST_RESOLUTION..0.9);
        let coarse = ((side as f32 * left) as u32).max(1);
        let coarse = resize::stretch(picture, Some(crop), coarse, coarse);
        resize::square(&coarse, side)
    } else {
        resize::stretch(picture, Some(crop), side, side)
    };
    let mut view = pose.apply(view);
    colours.apply(&mut view);
    view
}

/// After Szegedy et al., "Going Deeper with Convolutions" (2014), but less wild:
/// a mask is half of the picture, and must stay in it.
fn random_crop(picture: &RgbImage, random: &mut impl Rng) -> Crop {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let scale = random.random_range(LEAST_AREA..=1.0).sqrt();
    let stretch = random
        .random_range(1.0 / MOST_STRETCH..=MOST_STRETCH)
        .sqrt();
    let crop_width = (width * scale * stretch).min(width);
    let crop_height = (height * scale / stretch).min(height);
    Crop {
        left: f64::from((width - crop_width) * random.random::<f32>()),
        top: f64::from((height - crop_height) * random.random::<f32>()),
        width: f64::from(crop_width),
        height: f64::from(crop_height),
    }
}

/// Which way the face looks.
struct Pose {
    flipped: bool,
    /// Radians.
    angle: f32,
}

impl Pose {
    fn draw(random: &mut impl Rng) -> Self {
        let flipped = random.random_bool(0.5);
        let degrees = random.random_range(-MOST_ROTATION..=MOST_ROTATION);
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

/// Turned clockwise around its centre, bilinear; what comes in from outside repeats the edge.
fn rotated(view: &RgbImage, angle: f32) -> RgbImage {
    /// Bits after the point of a position.
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
    RgbImage::from_raw(view.width(), view.height(), out).expect("one for each pixel")
}

/// The light: one table a channel, and how much of its grey a pixel takes on.
struct Colours {
    tables: [[u8; 256]; 3],
    /// Of 256; less than none makes colours stronger.
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
        training(&picture(), 48, &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn the_same_seed_gives_the_same_view_and_others_others() {
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
    fn a_view_stays_a_picture_of_the_same_thing() {
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
    fn turning_moves_pixels_clockwise_around_the_centre() {
        let mut dot = RgbImage::new(41, 41);
        dot.put_pixel(40, 20, Rgb([255; 3]));
        let quarter = rotated(&dot, std::f32::consts::FRAC_PI_2);
        assert_eq!(quarter.get_pixel(20, 40).0, [255; 3]);
        assert_eq!(rotated(&picture(), 0.0), picture());
    }

    #[test]
    fn the_smallest_picture_has_views_too() {
        let dot = RgbImage::from_pixel(1, 1, Rgb([9; 3]));
        assert_eq!(
            training(&dot, 8, &mut StdRng::seed_from_u64(1)).dimensions(),
            (8, 8)
        );
    }
}
