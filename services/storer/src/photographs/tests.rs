use maskline_messages::{Detail, Fingerprint, Thumbnail};
use proptest::prelude::*;

use super::{placement::placement, *};

/// A photograph: details in a picture of 256 × 256 pixels, and its luma.
#[derive(Debug, Clone)]
struct Photograph {
    /// Hash, place, size, and whether it is mirrored.
    details: Vec<(u64, [f64; 2], f64, bool)>,
    /// Waves: how many times they go up and down across and down the picture, and where they begin.
    waves: [[f64; 3]; 6],
}

/// The part of a photograph from `left` and `top` on, of `share` of its sides, as a picture of 256
/// × 256 pixels.
#[derive(Debug, Clone, Copy)]
struct View {
    left: f64,
    top: f64,
    share: f64,
    mirrored: bool,
}

const WHOLE: View = View {
    left: 0.0,
    top: 0.0,
    share: 1.0,
    mirrored: false,
};

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Photograph {
    fn new(seed: u64) -> Self {
        let mut next = random(seed);
        let mut share = move || (next() >> 11) as f64 / (1u64 << 53) as f64;
        let mut hashes = random(!seed);
        let waves = std::array::from_fn(|_| [4.0 * share() - 2.0, 4.0 * share() - 2.0, share()]);
        let details = (0..12).map(|number| {
            let place = [40.0 + 176.0 * share(), 40.0 + 176.0 * share()];
            (hashes() >> 1, place, 3.0 + 9.0 * share(), number % 3 == 0)
        });
        Self {
            details: details.collect(),
            waves,
        }
    }

    fn seen(&self, view: View) -> Fingerprint {
        let place = |at: f64, start: f64| (at - start) / view.share;
        let details = self
            .details
            .iter()
            .filter_map(|&(hash, [x, y], size, mirrored)| {
                let x = place(x, view.left);
                let x = if view.mirrored { 255.0 - x } else { x };
                let y = place(y, view.top);
                let is_seen = [x, y].iter().all(|side| (0.0..=255.0).contains(side));
                is_seen.then(|| Detail {
                    hash,
                    x: x.round() as u8,
                    y: y.round() as u8,
                    scale: (32.0 * (size / view.share).log2()).round() as u8,
                    mirrored: mirrored != view.mirrored,
                })
            });
        // Sixteen samples a cell.
        let value = |row: usize, column: usize| {
            let column = if view.mirrored { 7 - column } else { column };
            let samples = (0..16).map(|sample| {
                let at = |start: f64, cell: usize, sample: usize| {
                    let share = (cell as f64 + (sample as f64 + 0.5) / 4.0) / 8.0;
                    start / 256.0 + view.share * share
                };
                let (x, y) = (
                    at(view.left, column, sample % 4),
                    at(view.top, row, sample / 4),
                );
                let wave = |[across, down, start]: &[f64; 3]| {
                    (std::f64::consts::TAU * (across * x + down * y + start)).sin()
                };
                128.0 + 20.0 * self.waves.iter().map(wave).sum::<f64>()
            });
            (samples.sum::<f64>() / 16.0 / 16.0) as u8
        };
        Fingerprint {
            details: details.collect(),
            thumbnail: Thumbnail::new(std::array::from_fn(|row| {
                std::array::from_fn(|column| value(row, column))
            })),
        }
    }
}

/// The number of the first image of each image's group.
fn groups(images: &[Fingerprint], distance: u32) -> Vec<u32> {
    let mut fingerprints = Fingerprints::default();
    images
        .iter()
        .for_each(|image| fingerprints.add(Some(image)));
    let mut sets = DisjointSets::new(images.len());
    join(&fingerprints, |_| [256, 256], distance, &mut sets);
    sets.roots()
}

#[test]
fn a_part_of_a_photograph_is_placed_in_it() {
    let photograph = Photograph::new(1);
    for mirrored in [false, true] {
        let part = View {
            left: 30.0,
            top: 20.0,
            share: 0.8,
            mirrored,
        };
        let [whole, part] = [WHOLE, part].map(|view| photograph.seen(view).details);
        let found = placement(&part, &whole, 8).unwrap();
        assert_eq!(found.mirrored, mirrored);
        assert!((found.scale - 0.8).abs() < 0.02, "{found:?}");
        let [x, y] = found.shift;
        let left = if mirrored { 30.0 + 0.8 * 256.0 } else { 30.0 };
        assert!(
            (x - left).abs() < 2.0 && (y - 20.0).abs() < 2.0,
            "{found:?}"
        );
    }
}

#[test]
fn parts_of_a_photograph_are_one_group_and_other_photographs_are_none() {
    let view = |left, top, share, mirrored| View {
        left,
        top,
        share,
        mirrored,
    };
    let views = [
        WHOLE,
        view(10.0, 20.0, 0.9, false),
        view(10.0, 20.0, 0.9, true),
        view(50.0, 30.0, 0.7, false),
        view(0.0, 0.0, 0.75, true),
    ];
    let images: Vec<Fingerprint> = (0..20)
        .map(Photograph::new)
        .flat_map(|photograph| views.map(|view| photograph.seen(view)))
        .collect();
    let expected: Vec<u32> = (0..100).map(|image| image / 5 * 5).collect();
    assert_eq!(groups(&images, 8), expected);
}

#[test]
fn the_same_details_in_pictures_that_look_different_are_not_enough() {
    let one = Photograph::new(1);
    let other = Photograph {
        waves: Photograph::new(2).waves,
        ..one.clone()
    };
    assert_eq!(groups(&[one.seen(WHOLE), one.seen(WHOLE)], 8), [0, 0]);
    assert_eq!(groups(&[one.seen(WHOLE), other.seen(WHOLE)], 8), [0, 1]);
}

#[test]
fn one_detail_and_details_at_other_places_are_not_enough() {
    let whole = Photograph::new(1).seen(WHOLE);
    let mut single = whole.clone();
    single.details.truncate(1);
    assert_eq!(groups(&[whole.clone(), single], 8), [0, 1]);
    let mut scattered = whole.clone();
    let places: Vec<[u8; 2]> = whole
        .details
        .iter()
        .map(|detail| [detail.x, detail.y])
        .collect();
    for (detail, [x, y]) in scattered.details.iter_mut().zip(places.into_iter().rev()) {
        (detail.x, detail.y) = (y, x);
    }
    assert_eq!(groups(&[whole, scattered], 8), [0, 1]);
}

#[test]
fn images_without_details_are_groups_of_their_own() {
    let empty = Fingerprint {
        details: vec![],
        thumbnail: Thumbnail::new([[3; 8]; 8]),
    };
    assert_eq!(groups(&[empty.clone(), empty], 8), [0, 1]);
    assert_eq!(groups(&[], 8), [] as [u32; 0]);
}

proptest! {
    /// Where four bits are wrong at most, nothing is missed.
    #[test]
    fn the_index_finds_what_comparing_all_images_finds(
        seed in 0u64..1000,
        wrong in prop::collection::vec((0usize..12, 0u32..63, 0u32..63, 0u32..63, 0u32..63), 0..20),
    ) {
        let mut images: Vec<Fingerprint> = (0..6)
            .map(|image| Photograph::new(seed + image / 2).seen(WHOLE))
            .collect();
        for (at, &(detail, a, b, c, d)) in wrong.iter().enumerate() {
            images[at % 6].details[detail].hash ^= 1 << a | 1 << b | 1 << c | 1 << d;
        }
        let mut fingerprints = Fingerprints::default();
        images.iter().for_each(|image| fingerprints.add(Some(image)));
        let mut sets = DisjointSets::new(images.len());
        for one in 0..6 {
            for other in 0..one {
                if is_same_photograph(&fingerprints, |_| [256, 256], 4, other, one) {
                    sets.join(other, one);
                }
            }
        }
        prop_assert_eq!(groups(&images, 4), sets.roots());
    }
}
