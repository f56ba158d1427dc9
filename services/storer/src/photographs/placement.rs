//! Tells from the details that agree where one image lies in another.

use std::{cmp::Reverse, sync::LazyLock};

use maskline_messages::Detail;

use super::differing;

/// How far from where it should be a detail may be found: a share of its distance from the detail
/// that it is compared with, and a share of its size.
const MOST_OFF: [f64; 2] = [0.1, 0.5];

/// How much the sizes of two details may differ from those of two others, in steps of
/// [`Detail::scale`].
const MOST_SCALE: i32 = 9;

/// The least distance between two details of an image, in sizes of the larger one. Two that are
/// closer say the same.
const LEAST_APART: f64 = 1.0;

/// Where the pixels of one image lie in another: `scale` times the place in the one, plus `shift`.
/// If it is mirrored, the horizontal places in the one are counted from 0 to the left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placement {
    pub(super) mirrored: bool,
    pub(super) scale: f64,
    pub(super) shift: [f64; 2],
    /// How many details say so.
    pub(super) details: usize,
}

/// A detail of one image, and one of the other that can be the same.
struct Match {
    /// The numbers of the details.
    numbers: [usize; 2],
    /// Their places, in pixels and fractions of pixels.
    places: [[f64; 2]; 2],
    /// Their sizes in pixels.
    sizes: [f64; 2],
    /// How many steps larger the detail of the other image is.
    larger: i32,
    /// In how many bits the hashes differ.
    differing: u32,
}

/// Tells where one image lies in another, if at least two details agree. Of several places it is
/// the one for which most agree.
pub(super) fn placement(one: &[Detail], other: &[Detail], distance: u32) -> Option<Placement> {
    let found = [false, true].map(|mirrored| {
        let matches = matches(one, other, distance, mirrored);
        let agreeing = matches.iter().map(|first| agreeing(first, &matches));
        let agreeing = agreeing.filter(|agreeing| agreeing.len() > 1);
        let rank = |agreeing: &[&Match]| {
            let differing: u32 = agreeing.iter().map(|found| found.differing).sum();
            (agreeing.len(), Reverse(differing))
        };
        let best = agreeing.max_by_key(|agreeing| rank(agreeing))?;
        Some((rank(&best), fit(&best, mirrored)))
    });
    let best = found.into_iter().flatten().max_by_key(|(rank, _)| *rank);
    best.map(|(_, placement)| placement)
}

/// All pairs of details that can be the same if the one image is `mirrored` in the other, or if
/// it is not.
fn matches(one: &[Detail], other: &[Detail], distance: u32, mirrored: bool) -> Vec<Match> {
    let mut matches = vec![];
    for (first, a) in one.iter().enumerate() {
        for (second, b) in other.iter().enumerate() {
            let differing = differing(a.hash, b.hash);
            if differing > distance || (a.mirrored != b.mirrored) != mirrored {
                continue;
            }
            let place = |detail: &Detail| [f64::from(detail.x) + 0.5, f64::from(detail.y) + 0.5];
            let [x, y] = place(a);
            matches.push(Match {
                numbers: [first, second],
                places: [[if mirrored { -x } else { x }, y], place(b)],
                sizes: [size(a.scale), size(b.scale)],
                larger: i32::from(b.scale) - i32::from(a.scale),
                differing,
            });
        }
    }
    matches
}

/// The size of a detail of this scale, in pixels.
fn size(scale: u8) -> f64 {
    /// Powers may differ in the last bits from machine to machine, and these are cut off.
    static SIZES: LazyLock<[f64; 256]> = LazyLock::new(|| {
        std::array::from_fn(|scale| ((scale as f64 / 32.0).exp2() * 1024.0).round() / 1024.0)
    });
    SIZES[usize::from(scale)]
}

/// The matches that agree with the first one about where the image lies: each detail is in one of
/// them at most.
fn agreeing<'a>(first: &'a Match, matches: &'a [Match]) -> Vec<&'a Match> {
    let mut others: Vec<&Match> = matches.iter().filter(|next| agree(first, next)).collect();
    others.sort_by_key(|next| next.differing);
    let mut agreeing = vec![first];
    for next in others {
        let is_new = |found: &&Match| (0..2).all(|of| found.numbers[of] != next.numbers[of]);
        if agreeing.iter().all(is_new) {
            agreeing.push(next);
        }
    }
    agreeing
}

fn agree(first: &Match, next: &Match) -> bool {
    let scale = first.sizes[1] / first.sizes[0];
    let [one, other] = [0, 1].map(|of| less(next.places[of], first.places[of]));
    let off = length(less(other, one.map(|side| scale * side)));
    let is_apart =
        |way: [f64; 2], of: usize| length(way) > LEAST_APART * first.sizes[of].max(next.sizes[of]);
    let [of_distance, of_size] = MOST_OFF;
    (first.larger - next.larger).abs() <= MOST_SCALE
        && off < of_distance * scale * length(one) + of_size * next.sizes[1]
        && is_apart(one, 0)
        && is_apart(other, 1)
}

/// The placement that fits the matches best, by least squares.
fn fit(matches: &[&Match], mirrored: bool) -> Placement {
    let middles = [0, 1].map(|of| {
        let sum = matches.iter().fold([0.0; 2], |[x, y], found| {
            let [dx, dy] = found.places[of];
            [x + dx, y + dy]
        });
        sum.map(|side| side / matches.len() as f64)
    });
    let spread = |of: usize| {
        let ways = matches
            .iter()
            .map(|found| less(found.places[of], middles[of]));
        ways.map(|[x, y]| x * x + y * y).sum::<f64>()
    };
    let scale = (spread(1) / spread(0)).sqrt();
    Placement {
        mirrored,
        scale,
        details: matches.len(),
        shift: less(middles[1], middles[0].map(|side| scale * side)),
    }
}

fn less([x, y]: [f64; 2], [other_x, other_y]: [f64; 2]) -> [f64; 2] {
    [x - other_x, y - other_y]
}

fn length([x, y]: [f64; 2]) -> f64 {
    (x * x + y * y).sqrt()
}
