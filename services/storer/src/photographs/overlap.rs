//! Whether two images look the same where one lies on the other.

use maskline_messages::Thumbnail;

use super::{Size, placement::Placement};

/// The least correlation of the two images' luma where they overlap, if only two or three details
/// say where that is, and if more do. Drawings of simple shapes often have so few in common.
const LEAST_CORRELATION: [f64; 2] = [0.93, 0.9];

/// The most details that are few.
const FEW: usize = 3;

/// The least number of cells of a thumbnail that lie in the other image.
const LEAST_CELLS: usize = 12;

/// How much of a cell's side may lie outside.
const OUTSIDE: f64 = 0.15;

const SIDE: usize = Thumbnail::SIDE;

type Values = [[f64; SIDE]; SIDE];

/// A thumbnail with the size of its image.
struct Picture {
    values: Values,
    size: [f64; 2],
}

/// Whether two images look the same where the first lies on the second. Their thumbnails are
/// compared by correlation, so that neither brightness nor contrast counts.
pub(super) fn looks_the_same(
    thumbnails: [Thumbnail; 2],
    sizes: [Size; 2],
    placement: &Placement,
) -> bool {
    let [mut one, other] = [0, 1].map(|of| Picture {
        values: thumbnails[of].values().map(|row| row.map(f64::from)),
        size: sizes[of].map(f64::from),
    });
    let Placement {
        mirrored,
        scale,
        mut shift,
        details,
    } = *placement;
    if mirrored {
        one.values.iter_mut().for_each(|row| row.reverse());
        shift[0] -= scale * one.size[0];
    }
    // The larger cells are compared with the means of the smaller ones that they lie on.
    let pairs = if scale * one.size[0] >= other.size[0] {
        pairs(&one, &other, scale, shift)
    } else {
        let back = shift.map(|side| -side / scale);
        pairs(&other, &one, 1.0 / scale, back)
    };
    let least = LEAST_CORRELATION[usize::from(details > FEW)];
    pairs.len() >= LEAST_CELLS && correlation(&pairs) >= least
}

/// The values of the cells of `coarse` that lie in `fine`, each with the mean of `fine` there.
fn pairs(coarse: &Picture, fine: &Picture, scale: f64, shift: [f64; 2]) -> Vec<[f64; 2]> {
    let shares = [0, 1].map(|axis| {
        let length = scale * coarse.size[axis] / SIDE as f64;
        let side = fine.size[axis];
        std::array::from_fn::<_, SIDE, _>(|cell| {
            let from = shift[axis] + cell as f64 * length;
            shares(from, from + length, side)
        })
    });
    let mut pairs = vec![];
    for (row, down) in shares[1].iter().enumerate() {
        for (column, across) in shares[0].iter().enumerate() {
            let (Some(down), Some(across)) = (down, across) else {
                continue;
            };
            let mean = fine.values.iter().zip(down).map(|(values, weight)| {
                let row = values.iter().zip(across);
                weight * row.map(|(value, weight)| weight * value).sum::<f64>()
            });
            pairs.push([coarse.values[row][column], mean.sum()]);
        }
    }
    pairs
}

/// Which share of a stretch lies in each of the cells of a side of this length. `None` if too much
/// of it lies outside.
fn shares(from: f64, to: f64, length: f64) -> Option<[f64; SIDE]> {
    let outside = OUTSIDE * (to - from);
    if from < -outside || to > length + outside {
        return None;
    }
    let cell = length / SIDE as f64;
    let inside = to.min(length) - from.max(0.0);
    Some(std::array::from_fn(|number| {
        let (start, end) = (number as f64 * cell, (number + 1) as f64 * cell);
        (to.min(end) - from.max(start)).max(0.0) / inside
    }))
}

/// Pearson's coefficient, 0 if either side does not vary.
fn correlation(pairs: &[[f64; 2]]) -> f64 {
    let mean = |of: usize| pairs.iter().map(|pair| pair[of]).sum::<f64>() / pairs.len() as f64;
    let means = [mean(0), mean(1)];
    let product = |a: usize, b: usize| {
        let terms = pairs
            .iter()
            .map(|pair| (pair[a] - means[a]) * (pair[b] - means[b]));
        terms.sum::<f64>()
    };
    let spread = (product(0, 0) * product(1, 1)).sqrt();
    if spread > 0.0 {
        product(0, 1) / spread
    } else {
        0.0
    }
}
