//! The values of a setting against the accuracy of the trials, as SVG.

use std::ops::Range;

use plotters::prelude::*;

use crate::report::plot::{self, Axes};

/// How wide the dots are, in pixels.
const RADIUS: i32 = 4;

/// The dots of one colour: values of the setting, and accuracies.
pub(super) struct Dots {
    pub(super) color: RGBColor,
    pub(super) points: Vec<(f32, f32)>,
}

/// Draws the dots, those of the last colour above the others. `is_logarithmic` says how the values
/// of the setting are spread.
pub(super) fn svg(dots: &[Dots], is_logarithmic: bool) -> String {
    let place = |value: f32| match is_logarithmic {
        true => f64::from(value).log10(),
        false => f64::from(value),
    };
    let points = || dots.iter().flat_map(|dots| dots.points.iter().copied());
    let axes = Axes {
        width: around(points().map(|(value, _)| place(value)), 1e-6),
        // A few images more or less are no difference that should fill the picture.
        height: around(points().map(|(_, accuracy)| accuracy.into()), 0.005),
        labels: 6,
        label: &|&place| match is_logarithmic {
            true => short(10_f64.powf(place)),
            false => short(place),
        },
        height_label: &|share| format!("{:.1} %", share * 100.0),
        height_label_size: 56,
    };
    plot::svg(axes, |chart| {
        for Dots { color, points } in dots {
            let dot = |&(value, accuracy): &(f32, f32)| {
                let at = (place(value), f64::from(accuracy));
                Circle::new(at, RADIUS, color.filled())
            };
            chart.draw_series(points.iter().map(dot))?;
        }
        Ok(())
    })
}

/// The range of the values, and a little more to both sides, because a dot at the very edge would be
/// cut off. It is `margin` at least.
fn around(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return 0.0..1.0;
    }
    let margin = ((high - low) * 0.05).max(margin);
    low - margin..high + margin
}

/// A number with two significant digits.
fn short(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    // Beside numbers of this size the axis means 0.
    match rounded.abs() < 1e-9 {
        true => "0".to_owned(),
        false => rounded.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trial_is_a_dot_whatever_the_values_are() {
        for is_logarithmic in [true, false] {
            for points in [
                vec![(1e-3, 0.5), (1e-2, 0.9), (0.1, 1.0)],
                vec![(0.1, 0.0); 3],
            ] {
                let dots = Dots { color: RED, points };
                let svg = svg(&[dots], is_logarithmic);
                assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
                assert_eq!(svg.matches("<circle").count(), 3);
                assert!(!svg.contains("NaN"), "{svg}");
            }
        }
        assert!(svg(&[], false).contains("<svg"), "no trial came so far");
    }

    #[test]
    fn a_range_has_room_on_both_sides() {
        let range = around([0.5, 0.7].into_iter(), 0.005);
        assert!((range.start - 0.49).abs() < 1e-9 && (range.end - 0.71).abs() < 1e-9);
        assert_eq!(around([0.5].into_iter(), 0.25), 0.25..0.75);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(short(0.003_162_277), "0.0032");
        assert_eq!(short(64.0), "64");
        assert_eq!(short(1e-17), "0");
    }
}
