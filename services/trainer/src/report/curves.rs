//! Curves over the epochs, as SVG.

use std::ops::Range;

use plotters::prelude::*;

use super::plot::{self, Axes};

/// With fewer epochs than this each is a dot, too: a line of one point would not show.
const FEW: usize = 40;

/// One line of a picture.
pub(crate) struct Curve {
    pub(crate) color: RGBColor,
    /// A value for each epoch.
    pub(crate) values: Vec<f64>,
}

/// Draws the curves over the epochs, which count from 1. `height` is the range of the
/// vertical axis, and `label` writes a value on it.
pub(crate) fn svg(curves: &[Curve], height: Range<f64>, label: fn(&f64) -> String) -> String {
    let epochs = curves.iter().map(|curve| curve.values.len());
    let epochs = epochs.max().unwrap_or(0);
    let axes = Axes {
        width: 0.5..epochs as f64 + 0.5,
        height,
        labels: epochs.clamp(1, 10),
        label: &|epoch| format!("{epoch:.0}"),
        height_label: &label,
        height_label_size: 46,
    };
    plot::svg(axes, |chart| {
        for curve in curves {
            let points = || (1..).map(f64::from).zip(curve.values.iter().copied());
            chart.draw_series(LineSeries::new(points(), curve.color.stroke_width(2)))?;
            if epochs < FEW {
                let dot = |point| Circle::new(point, 3, curve.color.filled());
                chart.draw_series(points().map(dot))?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_curve_is_a_line_with_a_dot_for_each_of_few_epochs() {
        let curve = |values: &[f64]| Curve {
            color: RED,
            values: values.to_vec(),
        };
        let svg = svg(&[curve(&[0.5, 0.4]), curve(&[0.6, 0.5])], 0.0..1.0, |v| {
            format!("{v:.1}")
        });
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 4);
        assert_eq!(
            svg.matches("stroke=\"#FF0000\" stroke-width=\"2\"").count(),
            2
        );
    }

    #[test]
    fn one_epoch_is_drawn_too() {
        let curve = Curve {
            color: RED,
            values: vec![0.5],
        };
        assert!(svg(&[curve], 0.0..1.0, |v| format!("{v}")).contains("<circle"));
    }
}
