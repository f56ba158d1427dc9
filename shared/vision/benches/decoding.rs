//! How long a JPEG takes to decode, beside the decoder of the `image` crate, which is in Rust
//! and accepts damaged files.

use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use maskline_vision::{Limits, decode};

/// How long each of the two is measured at a time, and how often.
const TIME: Duration = Duration::from_millis(150);
const ROUNDS: usize = 5;

/// Waves, an edge and grain, which take about as many bytes as a photograph.
fn photograph(width: u32) -> RgbImage {
    let mut state = 1_u32;
    RgbImage::from_fn(width, width * 3 / 4, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = (state >> 24) as f32 / 12.0;
        let (x, y) = (x as f32 / width as f32, y as f32 / width as f32);
        let waves = (x * 37.0).sin() * (y * 29.0).cos() + (x * 11.0 + y * 7.0).sin();
        let disc = if (x - 0.5).hypot(y - 0.35) < 0.2 {
            70.0
        } else {
            0.0
        };
        let light = 115.0 + waves * 45.0 + grain;
        Rgb([light + disc, light * 0.8, 190.0 - light * 0.3 + disc].map(|c| c as u8))
    })
}

/// The least seconds that one call takes, in the mean of a round.
fn seconds(mut call: impl FnMut()) -> f64 {
    let round = || {
        let begin = Instant::now();
        let mut calls = 0;
        while begin.elapsed() < TIME {
            call();
            calls += 1;
        }
        begin.elapsed().as_secs_f64() / f64::from(calls)
    };
    std::iter::repeat_with(round)
        .take(ROUNDS)
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("| picture | ms | ms of `image` | ratio |\n|---|---|---|---|");
    let limits = Limits::default();
    for width in [112, 224, 500, 1000, 2000] {
        for progressive in [false, true] {
            let picture = photograph(width);
            let mut file = vec![];
            let mut encoder = Encoder::new(&mut file, 85);
            encoder.set_progressive(progressive);
            encoder.set_sampling_factor(SamplingFactor::F_2_2);
            let (width, height) = (width as u16, picture.height() as u16);
            encoder
                .encode(picture.as_raw(), width, height, ColorType::Rgb)
                .expect("memory takes every picture");
            let ours = seconds(|| drop(decode(&file, &limits).expect("a whole file")));
            let theirs = seconds(|| drop(image::load_from_memory(&file).expect("a whole file")));
            let kind = if progressive {
                "progressive"
            } else {
                "baseline"
            };
            println!(
                "| {width} × {height}, {kind} | {:.3} | {:.3} | {:.2} |",
                ours * 1e3,
                theirs * 1e3,
                theirs / ours
            );
        }
    }
}
