//! Weighted non-maximum suppression, as MediaPipe does it.

use crate::candidates::Candidate;

/// Candidates that overlap the best one by more than this share are the same face.
const SAME_FACE: f32 = 0.3;

/// The faces that the candidates show, the highest score first. `candidates` are sorted in the
/// same way.
///
/// The network sees each face from several anchors. Where plain suppression keeps the candidate
/// with the highest score, this takes the mean of all of them, weighted by their scores, because
/// that moves less from picture to picture. The score is the highest.
pub fn suppressed(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut faces = vec![];
    while let Some(&best) = candidates.first() {
        let is_same = |other: &Candidate| overlap(&best, other) > SAME_FACE;
        let (same, others) = candidates.into_iter().partition::<Vec<_>, _>(is_same);
        candidates = others;
        if same.is_empty() {
            // A box without an area overlaps nothing, not even itself.
            candidates.remove(0);
            continue;
        }
        faces.push(mean(best.score, &same));
    }
    faces
}

/// The mean of candidates, weighted by their scores.
fn mean(score: f32, candidates: &[Candidate]) -> Candidate {
    let all: f32 = candidates.iter().map(|candidate| candidate.score).sum();
    let mean = |value: &dyn Fn(&Candidate) -> f32| {
        let weighted = candidates.iter().map(|of| of.score * value(of));
        weighted.sum::<f32>() / all
    };
    Candidate {
        score,
        edges: std::array::from_fn(|edge| mean(&|of| of.edges[edge])),
        points: std::array::from_fn(|point| {
            std::array::from_fn(|axis| mean(&|of| of.points[point][axis]))
        }),
    }
}

/// The area that two boxes share, as a share of the area that they cover together.
fn overlap(a: &Candidate, b: &Candidate) -> f32 {
    let [left, top] = [0, 1].map(|edge| a.edges[edge].max(b.edges[edge]));
    let [right, bottom] = [2, 3].map(|edge| a.edges[edge].min(b.edges[edge]));
    let shared = (right - left).max(0.0) * (bottom - top).max(0.0);
    let area = |of: &Candidate| of.width().max(0.0) * of.height().max(0.0);
    let covered = area(a) + area(b) - shared;
    if covered > 0.0 { shared / covered } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(score: f32, left: f32, side: f32) -> Candidate {
        Candidate {
            score,
            edges: [left, 0.0, left + side, side],
            points: [[left, 1.0]; 6],
        }
    }

    #[test]
    fn overlap_is_a_share_of_the_area_together() {
        let (a, b) = (candidate(1.0, 0.0, 2.0), candidate(1.0, 1.0, 2.0));
        assert_eq!(overlap(&a, &b), 2.0 / 6.0);
        assert_eq!(overlap(&a, &a), 1.0);
        assert_eq!(overlap(&a, &candidate(1.0, 5.0, 2.0)), 0.0);
        assert_eq!(overlap(&candidate(1.0, 0.0, 0.0), &a), 0.0);
    }

    #[test]
    fn candidates_of_one_face_become_their_weighted_mean() {
        let found = suppressed(vec![
            candidate(0.9, 0.0, 10.0),
            candidate(0.8, 50.0, 10.0),
            candidate(0.6, 2.0, 10.0),
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].score, 0.9);
        assert!((found[0].edges[0] - 0.8).abs() < 1e-6, "{:?}", found[0]);
        assert!((found[0].points[5][0] - 0.8).abs() < 1e-6);
        assert_eq!((found[1].score, found[1].edges[0]), (0.8, 50.0));
    }

    #[test]
    fn a_box_without_an_area_is_no_face() {
        let empty = candidate(0.9, 4.0, 0.0);
        assert_eq!(suppressed(vec![empty]), []);
        let upside_down = candidate(0.9, 4.0, -3.0);
        assert_eq!(suppressed(vec![upside_down]), []);
    }
}
