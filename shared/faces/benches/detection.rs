//! How long the detector takes for a picture, on one thread.

use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use maskline_faces::FaceDetector;

/// How long each size is measured.
const TIME: Duration = Duration::from_secs(2);

fn main() {
    let detector = FaceDetector::new().expect("the weights are whole");
    // The pictures have no face: each of them takes two passes.
    println!("| picture | ms a pass |\n|---|---|");
    for side in [128, 256, 1024] {
        let picture = RgbImage::from_fn(side, side, |x, y| Rgb([x as u8, y as u8, 90]));
        let mut times = vec![];
        let begin = Instant::now();
        while begin.elapsed() < TIME {
            let started = Instant::now();
            assert!(detector.detect(&picture).is_empty(), "a face in a gradient");
            times.push(started.elapsed());
        }
        times.sort();
        let median = times[times.len() / 2].as_secs_f64() * 1e3 / 2.0;
        println!("| {side} × {side} | {median:.2} |");
    }
}
