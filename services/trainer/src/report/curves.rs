//! Curves over the epochs, as SVG.

use std::{error::Error, ops::Range};

use plotters::prelude::*;

/// Width and height in pixels. The page scales the picture.
const SIZE: (u32, u32) = (480, 250);

/// With fewer epochs than this each is a dot, too: a line of one point would not show.
const FEW: usize = 40;

/// The page's style replaces these by colours that fit a light or a dark background.
const INK: RGBColor = BLACK;
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// One line of a picture.
pub(crate) struct Curve {
    pub(crate) color: RGBColor,
    /// A value for each epoch.
    pub(crate) values: Vec<f64>,
}

/// Draws the curves over the epochs, which count from 1. `height` is the range of the
/// vertical axis, and `label` writes a value on it.
pub(crate) fn svg(curves: &[Curve], height: Range<f64>, label: fn(&f64) -> String) -> String {
    let mut svg = String::new();
    draw(&mut svg, curves, height, label).expect("writing to a string does not fail");
    svg
}

fn draw(
    svg: &mut String,
    curves: &[Curve],
    height: Range<f64>,
    label: fn(&f64) -> String,
) -> Result<(), Box<dyn Error>> {
    let epochs = curves
        .iter()
        .map(|curve| curve.values.len())
        .max()
        .unwrap_or(0);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(26)
        .y_label_area_size(46)
        .build_cartesian_2d(0.5..epochs as f64 + 0.5, height)?;
    let text = ("sans-serif", 15).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(epochs.clamp(1, 10))
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .y_label_formatter(&label)
        .label_style(text)
        .draw()?;
    for curve in curves {
        let points = || (1..).map(f64::from).zip(curve.values.iter().copied());
        chart.draw_series(LineSeries::new(points(), curve.color.stroke_width(2)))?;
        if epochs < FEW {
            let dot = |point| Circle::new(point, 3, curve.color.filled());
            chart.draw_series(points().map(dot))?;
        }
    }
    area.present()?;
    drop(chart);
    drop(area);
    Ok(())
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
