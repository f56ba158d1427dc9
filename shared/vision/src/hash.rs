//! A perceptual hash of 64 bits. The hashes of pictures that look alike differ in few
//! bits.
//!
//! The luma is averaged to 32 × 32 values and transformed (DCT-II). Each of the 8 × 8
//! lowest frequencies gives one bit, which is set if its coefficient is above the
//! median. The method is from Zauner, "Implementation and Benchmarking of Perceptual
//! Image Hash Functions" (2010). All of it is integer arithmetic with a table of
//! rounded cosines, so that every machine computes the same hash.
//!
//! Mirroring a picture only changes the sign of every odd horizontal frequency. So the
//! hash of the mirror image costs next to nothing, and it is exact.

use std::sync::LazyLock;

use crate::luma::Luma;

/// The side of the averaged picture.
pub(crate) const GRID: usize = 32;
/// The side of the block of lowest frequencies.
const LOW: usize = 8;

/// The hashes of a picture and of its mirror image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    pub straight: u64,
    pub mirrored: u64,
}

/// The hashes of a picture, from its luma. A picture without pixels hashes to zeros.
pub fn hashes(luma: &Luma) -> Hashes {
    let straight = frequencies(&averaged(luma));
    let mut mirrored = straight;
    for row in &mut mirrored {
        row.iter_mut()
            .skip(1)
            .step_by(2)
            .for_each(|odd| *odd = -*odd);
    }
    Hashes {
        straight: bits(&straight),
        mirrored: bits(&mirrored),
    }
}

pub(crate) type Grid = [[i64; GRID]; GRID];
pub(crate) type Frequencies = [[i64; LOW]; LOW];

/// The means of 32 × 32 equal cells, in 1/256 of a grey level. A pixel on the edge
/// between two cells counts in both, in proportion to the part that lies in each.
pub(crate) fn averaged(luma: &Luma) -> Grid {
    let mut grid = [[0; GRID]; GRID];
    if luma.width == 0 || luma.height == 0 {
        return grid;
    }
    let columns = Cells::new(luma.width);
    let rows = Cells::new(luma.height);
    for (y, line) in luma.values.chunks_exact(luma.width).enumerate() {
        let mut sums = [0i64; GRID];
        for (x, &value) in line.iter().enumerate() {
            columns.spread(x, |cell, share| sums[cell] += share * i64::from(value));
        }
        rows.spread(y, |row, share| {
            grid[row]
                .iter_mut()
                .zip(&sums)
                .for_each(|(cell, sum)| *cell += share * sum);
        });
    }
    // Each cell has collected width × height shares.
    let area = luma.width as i64 * luma.height as i64;
    grid.iter_mut()
        .flatten()
        .for_each(|cell| *cell = *cell * 256 / area);
    grid
}

/// A side of the picture, cut into [`GRID`] equal cells. Lengths are in 1/GRID of a
/// pixel, so that a pixel is GRID long, and a cell as long as the side has pixels.
struct Cells {
    pixels: usize,
}

impl Cells {
    fn new(pixels: usize) -> Self {
        Self { pixels }
    }

    /// Calls `add` with each cell that the pixel lies in, and the length of the pixel's
    /// part in it.
    fn spread(&self, pixel: usize, mut add: impl FnMut(usize, i64)) {
        let (mut from, to) = (pixel * GRID, (pixel + 1) * GRID);
        while from < to {
            let cell = from / self.pixels;
            let end = to.min((cell + 1) * self.pixels);
            add(cell, (end - from) as i64);
            from = end;
        }
    }
}

/// The lowest frequencies of the DCT-II, indexed `[vertical][horizontal]`, unscaled.
pub(crate) fn frequencies(grid: &Grid) -> Frequencies {
    /// cos(π(2x + 1)f / 64) · 2¹⁴
    static COSINES: LazyLock<[[i64; GRID]; LOW]> = LazyLock::new(|| {
        let angle = |f: usize, x: usize| {
            std::f64::consts::PI * ((2 * x + 1) * f) as f64 / (2 * GRID) as f64
        };
        // The second half mirrors the first, exactly.
        std::array::from_fn(|f| {
            std::array::from_fn(|x| {
                let (x, sign) = if x < GRID / 2 {
                    (x, 1)
                } else {
                    (GRID - 1 - x, if f % 2 == 0 { 1 } else { -1 })
                };
                sign * (angle(f, x).cos() * f64::from(1 << 14)).round() as i64
            })
        })
    });
    let rows: [[i64; LOW]; GRID] = std::array::from_fn(|y| {
        std::array::from_fn(|f| grid[y].iter().zip(&COSINES[f]).map(|(v, c)| v * c).sum())
    });
    std::array::from_fn(|v| {
        std::array::from_fn(|h| {
            rows.iter()
                .zip(&COSINES[v])
                .map(|(row, c)| row[h] * c)
                .sum()
        })
    })
}

/// One bit for each frequency, row by row from the highest bit on. It is set if the
/// frequency is above the median.
fn bits(frequencies: &Frequencies) -> u64 {
    let mut sorted: Vec<i64> = frequencies.iter().flatten().copied().collect();
    sorted.sort_unstable();
    // Twice the median of an even number of values.
    let median = sorted[sorted.len() / 2 - 1] + sorted[sorted.len() / 2];
    frequencies
        .iter()
        .flatten()
        .fold(0, |bits, &value| bits << 1 | u64::from(2 * value > median))
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage, imageops};

    use super::*;
    use crate::{encode, resize};

    /// A different scene for each seed.
    fn scene(seed: u32) -> RgbImage {
        let wave = |x: u32, y: u32, k: u32| {
            let (a, b) = ((seed * 7 + k * 3) % 11 + 1, (seed * 5 + k * 7) % 13 + 1);
            let phase = (x * a + y * b + seed * k * 40) as f32 / 90.0;
            (phase.sin() + 1.0) * 127.0
        };
        RgbImage::from_fn(150, 190, |x, y| {
            Rgb(std::array::from_fn(|k| wave(x, y, k as u32) as u8))
        })
    }

    fn hash(picture: &RgbImage) -> Hashes {
        hashes(&Luma::of(picture))
    }

    /// The number of bits that differ.
    fn distance(one: u64, other: u64) -> u32 {
        (one ^ other).count_ones()
    }

    #[test]
    fn the_hash_is_the_same_on_every_machine() {
        let ramp = RgbImage::from_fn(64, 48, |x, y| {
            Rgb([(x * 4) as u8, (y * 5) as u8, (x ^ y) as u8])
        });
        let hashes = hash(&ramp);
        assert_eq!(
            format!("{:016x} {:016x}", hashes.straight, hashes.mirrored),
            "a03bee2a3360ea3d d5641b5d6615bf40"
        );
    }

    #[test]
    fn the_mirrored_hash_is_the_mirror_images_hash() {
        for seed in 1..20 {
            let picture = scene(seed);
            let mirror = imageops::flip_horizontal(&picture);
            assert_eq!(hash(&picture).mirrored, hash(&mirror).straight);
            assert_eq!(hash(&picture).straight, hash(&mirror).mirrored);
        }
    }

    #[test]
    fn compression_and_resizing_change_few_bits_and_another_scene_many() {
        for seed in 1..20 {
            let picture = scene(seed);
            let original = hash(&picture).straight;
            let coarse = image::load_from_memory(&encode::jpeg(&picture, 60)).unwrap();
            assert!(distance(original, hash(&coarse.to_rgb8()).straight) <= 4);
            let small = resize::bounded(&picture, 90);
            assert!(distance(original, hash(&small).straight) <= 4);
            let other = hash(&scene(seed + 1)).straight;
            assert!(distance(original, other) > 10);
        }
    }

    #[test]
    fn pictures_smaller_than_the_grid_have_a_hash() {
        for (width, height) in [(1, 1), (5, 3), (31, 33)] {
            let picture = RgbImage::from_fn(width, height, |x, y| Rgb([(x * 40 + y * 9) as u8; 3]));
            let mirror = imageops::flip_horizontal(&picture);
            assert_eq!(hash(&picture).mirrored, hash(&mirror).straight);
        }
        assert_eq!(hash(&RgbImage::new(0, 0)).straight, 0);
    }
}
