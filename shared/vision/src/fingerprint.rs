//! The fingerprint of a picture: details that are found again in any part of it, and a thumbnail.
//!
//! A hash of a whole picture changes when the picture is cropped, or gets a border or a caption.
//! The details that are left do not change. They are found and described as in Lowe, "Distinctive
//! Image Features from Scale-Invariant Keypoints" (2004), without the rotations:
//!
//! * `scale_space` has the places where the picture differs most from
//!   what is around them, with their sizes.
//! * Around each of the strongest a square is cut out, 12 times as large as the place, and hashed:
//!   each of the 63 lowest frequencies gives one bit, which is its sign.
//!
//! What has a side is turned to one side first: if the square is brighter on its right, its mirror
//! image is hashed. So a detail has the same hash in a mirrored picture.
//!
//! The details of two pictures tell where one lies in the other. The thumbnails confirm it.

use std::sync::LazyLock;

use image::RgbImage;
use maskline_messages::{Detail, Fingerprint, Thumbnail};

use crate::{
    hash::{self, Frequencies, GRID, Grid},
    luma::Luma,
    scale_space::{Extremum, Plane, extrema},
};

/// The most details of a picture. More of them would find more and smaller parts, and each takes
/// 11 bytes while a dataset is planned.
const MOST: usize = 12;

/// How many times the size of a detail the side of its square is.
const SQUARE: f32 = 12.0;

/// The least share of the square that lies in the picture.
const LEAST_INSIDE: f32 = 0.75;

/// The steps of [`Detail::scale`] that double the size.
const STEPS: f32 = 32.0;

/// The fingerprint of a picture at working size, see [`measure`](crate::measure::measure).
pub fn fingerprint(picture: &RgbImage) -> Fingerprint {
    let luma = Luma::of(picture);
    Fingerprint {
        details: details(&luma),
        thumbnail: thumbnail(&luma),
    }
}

fn thumbnail(luma: &Luma) -> Thumbnail {
    const CELLS: usize = GRID / Thumbnail::SIDE;
    let grid = hash::averaged(luma);
    let mean = |row: usize, column: usize| {
        let rows = &grid[row * CELLS..(row + 1) * CELLS];
        let cells = rows
            .iter()
            .flat_map(|row| &row[column * CELLS..(column + 1) * CELLS]);
        // Values are in 1/256 of a grey level, and 16 grey levels are one step.
        (cells.sum::<i64>() / (CELLS * CELLS) as i64 / 256 / 16) as u8
    };
    Thumbnail::new(std::array::from_fn(|row| {
        std::array::from_fn(|column| mean(row, column))
    }))
}

/// The details that stand out most.
fn details(luma: &Luma) -> Vec<Detail> {
    let (octaves, mut extrema) = extrema(luma);
    // What is large and differs much is found again most often.
    let strength = |extremum: &Extremum| extremum.difference.abs() * size(scale(extremum));
    extrema.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    let found = extrema.iter().filter_map(|extremum| {
        let scale = scale(extremum);
        let side = SQUARE * size(scale);
        is_inside(extremum, side, luma).then(|| {
            let square = square(&octaves[extremum.octave], extremum, side);
            detail(extremum, scale, &hash::frequencies(&square))
        })
    });
    found.take(MOST).collect()
}

/// The size as [`Detail::scale`] has it.
fn scale(extremum: &Extremum) -> u8 {
    (STEPS * extremum.log_size).round().clamp(0.0, 255.0) as u8
}

/// The size of what has this scale, in pixels.
fn size(scale: u8) -> f32 {
    /// The logarithms of two machines may differ in the last bits, and these are cut off.
    static SIZES: LazyLock<[f32; 256]> = LazyLock::new(|| {
        std::array::from_fn(|scale| ((scale as f32 / STEPS).exp2() * 1024.0).round() / 1024.0)
    });
    SIZES[usize::from(scale)]
}

fn is_inside(extremum: &Extremum, side: f32, luma: &Luma) -> bool {
    let along = |at: f32, length: usize| {
        let (from, to) = (at - side / 2.0, at + side / 2.0);
        to.min(length as f32) - from.max(0.0)
    };
    along(extremum.x, luma.width) * along(extremum.y, luma.height) >= LEAST_INSIDE * side * side
}

/// The square around the place, as 32 × 32 values in 1/256 of a grey level. Beyond the picture its
/// outermost pixels go on.
fn square(plane: &Plane, extremum: &Extremum, side: f32) -> Grid {
    let pixel = (1usize << extremum.octave) as f32;
    let step = side / GRID as f32;
    let at = |middle: f32, cell: usize| {
        let offset = (cell as f32 + 0.5) * step - side / 2.0;
        (middle + offset) / pixel
    };
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            let value = plane.between(at(extremum.x, column), at(extremum.y, row));
            (value * 256.0).round() as i64
        })
    })
}

fn detail(extremum: &Extremum, scale: u8, frequencies: &Frequencies) -> Detail {
    let mirrored = frequencies[0].iter().skip(1).step_by(2).sum::<i64>() < 0;
    let bits = frequencies.iter().flat_map(|row| row.iter().enumerate());
    let hash = bits.skip(1).fold(0, |bits, (horizontal, &value)| {
        let turned = if mirrored && horizontal % 2 == 1 {
            -value
        } else {
            value
        };
        bits << 1 | u64::from(turned > 0)
    });
    let place = |at: f32| at.round().clamp(0.0, 255.0) as u8;
    Detail {
        hash,
        x: place(extremum.x),
        y: place(extremum.y),
        scale,
        mirrored,
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, imageops};
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{encode, resize};

    /// A different scene of blobs for each seed.
    fn scene(seed: u64) -> RgbImage {
        let mut random = StdRng::seed_from_u64(seed);
        let blobs: Vec<[f32; 4]> = (0..60)
            .map(|_| {
                let [x, y] = [0.0..240.0, 0.0..200.0].map(|range| random.random_range(range));
                [
                    x,
                    y,
                    random.random_range(3.0..18.0),
                    random.random_range(-90.0..90.0),
                ]
            })
            .collect();
        RgbImage::from_fn(240, 200, |x, y| {
            let sum: f32 = blobs
                .iter()
                .map(|[left, top, size, light]| {
                    let (dx, dy) = ((x as f32 - left) / size, (y as f32 - top) / size);
                    light * (-0.5 * (dx * dx + dy * dy)).exp()
                })
                .sum();
            Rgb([(128.0 + sum).clamp(0.0, 255.0) as u8; 3])
        })
    }

    fn coarse(picture: &RgbImage) -> RgbImage {
        let decoded = image::load_from_memory(&encode::jpeg(picture, 60));
        decoded.unwrap().to_rgb8()
    }

    /// How many details of one are details of the other at the place that `place` says.
    fn shared(
        one: &Fingerprint,
        other: &Fingerprint,
        place: impl Fn(&Detail) -> [f32; 2],
    ) -> usize {
        let is_there = |detail: &&Detail| {
            let [x, y] = place(detail);
            other.details.iter().any(|found| {
                let off = (f32::from(found.x) - x).hypot(f32::from(found.y) - y);
                off < 3.0 && (found.hash ^ detail.hash).count_ones() <= 8
            })
        };
        one.details.iter().filter(is_there).count()
    }

    #[test]
    fn a_crop_has_details_of_its_picture_even_if_it_is_small_and_mirrored() {
        for seed in 0..6 {
            let whole = scene(seed);
            let of_whole = fingerprint(&whole);
            let crop = imageops::crop_imm(&whole, 24, 10, 200, 180).to_image();
            let same = shared(&fingerprint(&coarse(&crop)), &of_whole, |detail| {
                [f32::from(detail.x) + 24.0, f32::from(detail.y) + 10.0]
            });
            assert!(same >= 4, "{same} details");
            let small = resize::bounded(&crop, 150);
            let mirror = imageops::flip_horizontal(&small);
            let same = shared(&fingerprint(&coarse(&mirror)), &of_whole, |detail| {
                let scale = 200.0 / 150.0;
                [
                    (149.0 - f32::from(detail.x)) * scale + 24.0,
                    f32::from(detail.y) * scale + 10.0,
                ]
            });
            assert!(same >= 3, "{same} details");
        }
    }

    #[test]
    fn other_pictures_have_other_details() {
        let anywhere = |one: &Fingerprint, other: &Fingerprint| {
            let near = |a: &Detail, b: &Detail| (a.hash ^ b.hash).count_ones() <= 8;
            let found = one
                .details
                .iter()
                .filter(|a| other.details.iter().any(|b| near(a, b)));
            found.count()
        };
        let fingerprints: Vec<Fingerprint> = (0..8).map(|seed| fingerprint(&scene(seed))).collect();
        for (number, one) in fingerprints.iter().enumerate() {
            for other in &fingerprints[..number] {
                assert!(anywhere(one, other) < 2);
            }
        }
    }

    #[test]
    fn the_fingerprint_is_the_same_on_every_machine() {
        let picture = RgbImage::from_fn(120, 90, |x, y| {
            let (x, y) = (x / 11, y / 13);
            Rgb([(x * x * 37 + y * 91 + x * y * 53) as u8; 3])
        });
        let details = fingerprint(&picture).details;
        assert_eq!(details.len(), MOST);
        let details: Vec<String> = details.iter().map(Detail::to_string).collect();
        assert_eq!(
            details[..2],
            ["3874370fd8bb24b74e14521", "4d35665b0dce73e2172e510"]
        );
    }

    #[test]
    fn the_thumbnail_has_the_means_of_the_picture() {
        let ramp = RgbImage::from_fn(64, 40, |x, y| {
            Rgb([if y < 20 { x as u8 * 4 } else { 255 }; 3])
        });
        let values = fingerprint(&ramp).thumbnail.values();
        assert_eq!(values[0], [0, 2, 4, 6, 8, 10, 12, 14]);
        assert_eq!(values[7], [15; 8]);
    }

    #[test]
    fn pictures_without_details_have_a_fingerprint() {
        for (width, height) in [(0, 0), (1, 1), (5, 3), (256, 9)] {
            let picture = RgbImage::from_pixel(width, height, Rgb([90; 3]));
            assert_eq!(fingerprint(&picture).details, []);
        }
    }
}
