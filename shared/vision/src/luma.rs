//! The luma of a picture, and what is measured on it.

use image::RgbImage;

/// The luma of a picture (ITU-R BT.601), 0 to 255, row by row.
pub struct Luma {
    pub width: usize,
    pub height: usize,
    pub values: Vec<u8>,
}

impl Luma {
    /// Computes the luma of every pixel.
    pub fn of(picture: &RgbImage) -> Self {
        let luma = |pixel: &[u8]| {
            let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            ((19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16) as u8
        };
        Self {
            width: picture.width() as usize,
            height: picture.height() as usize,
            values: picture.as_raw().chunks_exact(3).map(luma).collect(),
        }
    }

    /// Mean and standard deviation, 0 to 255.
    pub fn mean_and_deviation(&self) -> (f64, f64) {
        moments(self.values.iter().map(|&value| i64::from(value)))
    }

    /// The variance of the Laplacian (the four neighbours less four times the pixel)
    /// over the inner pixels. It is small if no edge is sharp. The measure is from
    /// Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy" (2000).
    pub fn sharpness(&self) -> f64 {
        if self.width < 3 || self.height < 3 {
            return 0.0;
        }
        let rows: Vec<&[u8]> = self.values.chunks_exact(self.width).collect();
        let laplacian = rows.windows(3).flat_map(|rows| {
            (1..self.width - 1).map(move |x| {
                let at = |row: &[u8], x: usize| i64::from(row[x]);
                at(rows[0], x) + at(rows[2], x) + at(rows[1], x - 1) + at(rows[1], x + 1)
                    - 4 * at(rows[1], x)
            })
        });
        moments(laplacian).1.powi(2)
    }
}

/// Mean and standard deviation, both 0 if there are no values. The sums are integers,
/// so the order of the values does not matter.
fn moments(values: impl Iterator<Item = i64>) -> (f64, f64) {
    let (mut count, mut sum, mut squares) = (0i64, 0i64, 0i64);
    for value in values {
        count += 1;
        sum += value;
        squares += value * value;
    }
    if count == 0 {
        return (0.0, 0.0);
    }
    let mean = sum as f64 / count as f64;
    let variance = squares as f64 / count as f64 - mean * mean;
    (mean, variance.max(0.0).sqrt())
}
