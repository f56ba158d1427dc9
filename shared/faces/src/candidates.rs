//! The network's output as candidates for faces.

use crate::table::{GRIDS, SIDE, VALUES};

/// A candidate for a face, in pixels of the network's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// 0 to 1.
    pub score: f32,
    /// The left, top, right and bottom edge of its box.
    pub edges: [f32; 4],
    pub points: [[f32; 2]; 6],
}

/// The candidates of one image whose score is at least `least`, the highest score first.
///
/// `values` and `scores` are the network's [`Output`](crate::network::Output) for the image.
pub fn candidates(values: &[f32], scores: &[f32], least: f32) -> Vec<Candidate> {
    let (values, _) = values.as_chunks::<VALUES>();
    let found = scores.iter().zip(anchors()).zip(values);
    let found = found.filter_map(|((&logit, anchor), values)| {
        let score = 1.0 / (1.0 + (-logit).exp());
        (score >= least).then(|| Candidate::new(score, anchor, values))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

/// The places in the middle of the grids' cells, in pixels of the input, one for each anchor.
fn anchors() -> impl Iterator<Item = [f32; 2]> {
    GRIDS.iter().flat_map(|grid| {
        let cell = SIDE as f32 / grid.cells as f32;
        (0..grid.cells * grid.cells * grid.anchors).map(move |index| {
            let at = index / grid.anchors;
            [at % grid.cells, at / grid.cells].map(|at| (at as f32 + 0.5) * cell)
        })
    })
}

impl Candidate {
    fn new(score: f32, [x, y]: [f32; 2], values: &[f32; VALUES]) -> Self {
        let (pairs, _) = values.as_chunks::<2>();
        let [dx, dy] = pairs[0];
        let [width, height] = pairs[1].map(|side| side / 2.0);
        let (x_centre, y_centre) = (x + dx, y + dy);
        Self {
            score,
            edges: [
                x_centre - width,
                y_centre - height,
                x_centre + width,
                y_centre + height,
            ],
            points: std::array::from_fn(|point| {
                let [dx, dy] = pairs[2 + point];
                [x + dx, y + dy]
            }),
        }
    }

    pub fn width(&self) -> f32 {
        self.edges[2] - self.edges[0]
    }

    pub fn height(&self) -> f32 {
        self.edges[3] - self.edges[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_anchor_lies_in_the_middle_of_its_cell() {
        let anchors: Vec<_> = anchors().collect();
        assert_eq!(anchors.len(), 896);
        assert_eq!(anchors[0], [4.0, 4.0]);
        assert_eq!((anchors[1], anchors[2]), ([4.0, 4.0], [12.0, 4.0]));
        assert_eq!(anchors[511], [124.0, 124.0]);
        assert_eq!((anchors[512], anchors[517]), ([8.0, 8.0], [8.0, 8.0]));
        assert_eq!((anchors[518], anchors[895]), ([24.0, 8.0], [120.0, 120.0]));
    }

    #[test]
    fn boxes_and_points_are_relative_to_the_anchor() {
        let (mut values, mut scores) = (vec![0.0; 896 * VALUES], vec![-9.0; 896]);
        for (anchor, logit) in [(2, 0.5), (518, 3.0), (7, -0.5)] {
            scores[anchor] = logit;
            values[anchor * VALUES..][..6].copy_from_slice(&[1.0, 2.0, 10.0, 20.0, -3.0, 4.0]);
        }
        let found = candidates(&values, &scores, 0.5);
        assert_eq!(found.len(), 2);
        assert!((found[0].score - 0.952_574).abs() < 1e-5);
        assert_eq!(found[0].edges, [20.0, 0.0, 30.0, 20.0]);
        assert_eq!(found[1].edges, [8.0, -4.0, 18.0, 16.0]);
        assert_eq!(found[1].points[..2], [[9.0, 8.0], [12.0, 4.0]]);
    }
}
