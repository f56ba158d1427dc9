//! The places where a picture differs most from what is around them, with their sizes.
//!
//! The picture is blurred more and more, and what each blur takes away is looked at (the
//! difference of Gaussians). A place is found in the blur that fits its size: there the
//! difference is larger than at all neighbouring places and in the blurs next to it. When the blur
//! has doubled, every other pixel is left out, which is one *octave*.
//!
//! Additions and multiplications of floating-point numbers in a fixed order, with rounded weights,
//! give the same places on every machine.

use crate::luma::Luma;

/// The blurs in which the size doubles.
const STEPS: usize = 3;

/// The standard deviation of the least blur, in pixels of the octave.
const BASE: f32 = 1.6;

/// The blur that a picture has as it comes.
const CAMERA: f32 = 0.5;

/// The logarithm of [`BASE`] to base 2.
const LOG_BASE: f32 = 0.678_071_9;

/// The least difference of a place, in grey levels. Less is noise.
const LEAST_DIFFERENCE: f32 = 1.5;

/// The most that the curvature along a place may differ from that across it. On an edge, where a
/// place could be anywhere along it, they differ more.
const MOST_EDGE: f32 = 10.0;

/// The least side of an octave in pixels.
const LEAST_SIDE: usize = 8;

/// A place that differs from what is around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extremum {
    /// Where it is, in pixels of the picture.
    pub x: f32,
    pub y: f32,
    /// The logarithm to base 2 of its size in pixels of the picture. The size is the standard
    /// deviation of the blur that fits it.
    pub log_size: f32,
    /// How much brighter or darker than its surroundings it is, in grey levels.
    pub difference: f32,
    /// How often the picture was halved.
    pub octave: usize,
}

/// Grey levels, row by row.
#[derive(Debug, Clone)]
pub struct Plane {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

/// The least blurred plane of each octave, and the extrema of all of them.
pub fn extrema(luma: &Luma) -> (Vec<Plane>, Vec<Extremum>) {
    let (mut octaves, mut found) = (vec![], vec![]);
    let mut base = Plane::of(luma).blurred((BASE * BASE - CAMERA * CAMERA).sqrt());
    while base.width.min(base.height) >= LEAST_SIDE {
        let octave = octaves.len();
        let blurs = blurs();
        let mut planes = vec![base];
        for blur in blurs {
            planes.push(planes[planes.len() - 1].blurred(blur));
        }
        let differences: Vec<Plane> = planes.windows(2).map(|two| two[1].less(&two[0])).collect();
        for (step, three) in (1..).zip(differences.windows(3)) {
            find(three, step, octave, &mut found);
        }
        let next = planes[STEPS].halved();
        octaves.push(planes.swap_remove(0));
        base = next;
    }
    (octaves, found)
}

/// The blurs of an octave, each on top of the one before, so that the standard deviation is
/// doubled after three of them.
fn blurs() -> [f32; STEPS + 2] {
    // 2^(1/3) and its powers would differ in the last bits from machine to machine.
    const ROOT: f32 = 1.259_921;
    let mut deviation = BASE;
    [(); STEPS + 2].map(|()| {
        let next = deviation * ROOT;
        let blur = (next * next - deviation * deviation).sqrt();
        deviation = next;
        blur
    })
}

/// Finds the extrema of the middle one of three differences.
fn find(three: &[Plane], step: usize, octave: usize, found: &mut Vec<Extremum>) {
    let [below, here, above] = [&three[0], &three[1], &three[2]];
    let width = here.width;
    for y in 1..here.height - 1 {
        for x in 1..width - 1 {
            let at = y * width + x;
            let value = here.values[at];
            if value.abs() <= LEAST_DIFFERENCE {
                continue;
            }
            // Most places are not even extreme among their nearest neighbours.
            let nearest = [at - 1, at + 1, at - width, at + width];
            let around = nearest.map(|at| here.values[at]);
            let is_top = match value > 0.0 {
                true => around.iter().all(|&other| other <= value),
                false => around.iter().all(|&other| other >= value),
            };
            if !is_top {
                continue;
            }
            let is_extreme = three.iter().all(|plane| {
                [at - width, at, at + width].into_iter().all(|row| {
                    let around = &plane.values[row - 1..=row + 1];
                    around.iter().all(|&other| match value > 0.0 {
                        true => other <= value,
                        false => other >= value,
                    })
                })
            });
            if !is_extreme {
                continue;
            }
            let values = &here.values;
            let bend = |less: f32, more: f32| more + less - 2.0 * value;
            let horizontal = bend(values[at - 1], values[at + 1]);
            let vertical = bend(values[at - width], values[at + width]);
            let diagonal = (values[at - width - 1] + values[at + width + 1]
                - values[at - width + 1]
                - values[at + width - 1])
                / 4.0;
            let (sum, product) = (
                horizontal + vertical,
                horizontal * vertical - diagonal * diagonal,
            );
            let most = (MOST_EDGE + 1.0) * (MOST_EDGE + 1.0) / MOST_EDGE;
            if product <= 0.0 || sum * sum > most * product {
                continue;
            }
            let x = x as f32 + top(values[at - 1], value, values[at + 1]);
            let y = y as f32 + top(values[at - width], value, values[at + width]);
            let step = step as f32 + top(below.values[at], value, above.values[at]);
            let pixel = (1usize << octave) as f32;
            found.push(Extremum {
                x: x * pixel,
                y: y * pixel,
                log_size: octave as f32 + LOG_BASE + step / STEPS as f32,
                difference: value,
                octave,
            });
        }
    }
}

/// Computes where the parabola through three values has its top, seen from the middle one: half a
/// step away at most.
fn top(before: f32, value: f32, after: f32) -> f32 {
    let bend = before + after - 2.0 * value;
    if bend == 0.0 {
        return 0.0;
    }
    ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5)
}

impl Plane {
    fn of(luma: &Luma) -> Self {
        Self {
            width: luma.width,
            height: luma.height,
            values: luma.values.iter().map(|&value| value.into()).collect(),
        }
    }

    /// The value at this place, between the four pixels around it. Beyond the plane its outermost
    /// pixels go on.
    pub fn between(&self, x: f32, y: f32) -> f32 {
        let along = |at: f32, length: usize| {
            let at = at.clamp(0.0, (length - 1) as f32);
            let first = at as usize;
            (first, (first + 1).min(length - 1), at - first as f32)
        };
        let (left, right, across) = along(x, self.width);
        let (top, bottom, down) = along(y, self.height);
        let row = |y: usize| {
            let row = &self.values[y * self.width..];
            row[left] + across * (row[right] - row[left])
        };
        let (above, below) = (row(top), row(bottom));
        above + down * (below - above)
    }

    /// Every other pixel of every other row.
    fn halved(&self) -> Self {
        let rows = self.values.chunks_exact(self.width).step_by(2);
        Self {
            width: self.width.div_ceil(2),
            height: self.height.div_ceil(2),
            values: rows
                .flat_map(|row| row.iter().step_by(2))
                .copied()
                .collect(),
        }
    }

    fn less(&self, other: &Self) -> Self {
        let pairs = self.values.iter().zip(&other.values);
        Self {
            values: pairs.map(|(value, other)| value - other).collect(),
            ..*self
        }
    }

    /// Blurred by a Gaussian of this standard deviation.
    fn blurred(&self, deviation: f32) -> Self {
        let (width, weights) = (self.width.max(1), weights(deviation));
        let border = weights.len() - 1;
        let mut across = vec![0.0; self.values.len()];
        let mut padded = vec![0.0; width + 2 * border];
        for (row, blurred) in self
            .values
            .chunks_exact(width)
            .zip(across.chunks_exact_mut(width))
        {
            padded[..border].fill(row[0]);
            padded[border..border + width].copy_from_slice(row);
            padded[border + width..].fill(row[width - 1]);
            let shifted = |by: isize| &padded[border.wrapping_add_signed(by)..][..width];
            weigh(shifted, &weights, blurred);
        }
        let mut values = vec![0.0; self.values.len()];
        let last = self.height as isize - 1;
        for (y, blurred) in (0..).zip(values.chunks_exact_mut(width)) {
            let row = |by: isize| &across[(y + by).clamp(0, last) as usize * width..][..width];
            weigh(row, &weights, blurred);
        }
        Self { values, ..*self }
    }
}

/// Adds up the rows at the distances 0, ±1, ±2 and so on, times their weights.
fn weigh<'a>(row: impl Fn(isize) -> &'a [f32], weights: &[f32], sums: &mut [f32]) {
    /// So many sums stay in registers while all rows are added.
    const LANES: usize = 16;
    let middle = row(0);
    let pairs: Vec<_> = (1..)
        .zip(&weights[1..])
        .map(|(by, &weight)| (row(-by), row(by), weight))
        .collect();
    let (whole, rest) = sums.as_chunks_mut::<LANES>();
    for (at, sums) in (0..).step_by(LANES).zip(whole) {
        let of = |row: &[f32]| -> [f32; LANES] {
            row[at..at + LANES].try_into().expect("it has as many")
        };
        let mut sum = of(middle).map(|value| value * weights[0]);
        for (before, after, weight) in &pairs {
            let (before, after) = (of(before), of(after));
            for lane in 0..LANES {
                sum[lane] += weight * (before[lane] + after[lane]);
            }
        }
        *sums = sum;
    }
    let begin = middle.len() - rest.len();
    for (at, sum) in (begin..).zip(rest) {
        let sides = pairs
            .iter()
            .map(|(before, after, weight)| weight * (before[at] + after[at]));
        *sum = sides.fold(middle[at] * weights[0], |sum, side| sum + side);
    }
}

/// The weights of a Gaussian at the distances 0, 1, 2 and so on, rounded to 1/16384. Those on both
/// sides together are 1.
fn weights(deviation: f32) -> Vec<f32> {
    let last = (3.0 * deviation).ceil() as i32;
    let exact =
        |distance: i32| (-((distance * distance) as f32) / (2.0 * deviation * deviation)).exp();
    let total: f32 = exact(0) + 2.0 * (1..=last).map(exact).sum::<f32>();
    let rounded = |distance| (exact(distance) / total * 16384.0).round() / 16384.0;
    let mut weights: Vec<f32> = (0..=last).map(rounded).collect();
    weights[0] = 1.0 - 2.0 * weights[1..].iter().sum::<f32>();
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bright blob on grey, a Gaussian of this standard deviation.
    fn blob(width: usize, height: usize, [x, y]: [f32; 2], deviation: f32) -> Luma {
        let value = |at: usize| {
            let (dx, dy) = ((at % width) as f32 - x, (at / width) as f32 - y);
            let exponent = -(dx * dx + dy * dy) / (2.0 * deviation * deviation);
            (60.0 + 150.0 * exponent.exp()).round() as u8
        };
        Luma {
            width,
            height,
            values: (0..width * height).map(value).collect(),
        }
    }

    #[test]
    fn a_blob_is_found_where_it_is_and_in_its_size() {
        for (place, deviation) in [
            ([60.0, 40.0], 3.0),
            ([60.3, 40.6], 4.5),
            ([71.0, 50.0], 6.0),
            ([80.0, 64.5], 10.0),
        ] {
            let (_, found) = extrema(&blob(150, 120, place, deviation));
            let strength = |extremum: &&Extremum| extremum.difference.abs();
            let best = found
                .iter()
                .max_by(|a, b| strength(a).total_cmp(&strength(b)));
            let best = best.unwrap();
            let off = (best.x - place[0]).hypot(best.y - place[1]);
            assert!(off < 0.1 * deviation, "{best:?} is {off} from {place:?}");
            let times = best.log_size.exp2() / deviation;
            assert!((0.75..1.1).contains(&times), "{times} times {deviation}");
            assert!(best.difference < 0.0, "a blur makes a bright blob darker");
        }
    }

    #[test]
    fn an_edge_and_a_plain_picture_have_no_places() {
        let plain = blob(60, 60, [-500.0, 0.0], 1.0);
        assert_eq!(extrema(&plain).1, []);
        let edge = Luma {
            width: 60,
            height: 60,
            values: (0..3600)
                .map(|at| if at % 60 < 30 { 40 } else { 200 })
                .collect(),
        };
        let (_, found) = extrema(&edge);
        let inside = |extremum: &Extremum| (10.0..50.0).contains(&extremum.y);
        assert!(!found.iter().any(inside), "{found:?}");
    }

    #[test]
    fn pictures_of_every_size_have_a_scale_space() {
        for (width, height) in [(0, 0), (1, 1), (1, 40), (7, 200), (8, 8), (9, 31)] {
            let (octaves, found) = extrema(&blob(width, height, [3.0, 3.0], 2.0));
            let is_in = |extremum: &Extremum| {
                extremum.x <= width as f32
                    && extremum.y <= height as f32
                    && extremum.octave < octaves.len()
            };
            assert!(found.iter().all(is_in), "{found:?}");
        }
    }
}
