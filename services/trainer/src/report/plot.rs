//! What the plots of all reports have in common: their size, their colours and their axes. A plot
//! is an SVG.

use std::{error::Error, ops::Range};

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
};

/// The two colours of what is drawn. Both stand out from a light and from a dark background, and
/// they differ in brightness, for readers who do not see colours. The page's style has them, too.
pub(crate) const FIRST_COLOR: RGBColor = RGBColor(0xe0, 0x8a, 0x1e);
pub(crate) const SECOND_COLOR: RGBColor = RGBColor(0x3b, 0x7d, 0xd8);

/// Width and height in pixels. The page scales the picture.
const SIZE: (u32, u32) = (480, 250);

/// The page's style replaces these by colours that fit a light or a dark background.
const INK: RGBColor = BLACK;
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// The two axes of a plot.
pub(crate) struct Axes<'a> {
    pub(crate) width: Range<f64>,
    pub(crate) height: Range<f64>,
    /// The most values that are written below the plot.
    pub(crate) labels: usize,
    /// Writes a value of the horizontal axis.
    pub(crate) label: &'a dyn Fn(&f64) -> String,
    /// Writes a value of the vertical axis.
    pub(crate) height_label: &'a dyn Fn(&f64) -> String,
    /// The space for the values of the vertical axis, in pixels.
    pub(crate) height_label_size: u32,
}

/// The area in which the values are drawn.
pub(crate) type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Whether something could be drawn.
pub(crate) type Drawn = Result<(), Box<dyn Error>>;

/// Returns a plot with these axes. `series` draws the values.
pub(crate) fn svg(axes: Axes<'_>, series: impl FnOnce(&mut Chart<'_, '_>) -> Drawn) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(&area, axes, series).expect("writing to a string does not fail");
    drop(area);
    svg
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    axes: Axes<'_>,
    series: impl FnOnce(&mut Chart<'_, '_>) -> Drawn,
) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(26)
        .y_label_area_size(axes.height_label_size)
        .build_cartesian_2d(axes.width, axes.height)?;
    let text = ("sans-serif", 15).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(axes.labels)
        .x_label_formatter(&axes.label)
        .y_label_formatter(&axes.height_label)
        .label_style(text)
        .draw()?;
    series(&mut chart)?;
    drop(chart);
    Ok(area.present()?)
}
