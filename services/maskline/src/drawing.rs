//! Draws boxes with a text into a picture.

use std::convert::Infallible;

use embedded_graphics::{
    Pixel,
    mono_font::{MonoTextStyle, iso_8859_15::FONT_8X13_BOLD},
    pixelcolor::Rgb888,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
    text::{Baseline, Text},
};
use image::{Rgb, RgbImage};
use maskline_messages::Bounds;

/// A box in a picture, and what is written at it.
pub(crate) struct LabelledBox {
    pub(crate) bounds: Bounds,
    /// Boxes of the same class have the same colour.
    pub(crate) class: usize,
    pub(crate) text: String,
}

/// The colours of Okabe and Ito (2008), which people who do not see all colours can tell apart:
/// bluish green, vermilion, sky blue, orange, reddish purple and yellow.
const COLOURS: [Rgb888; 6] = [
    Rgb888::new(0, 158, 115),
    Rgb888::new(213, 94, 0),
    Rgb888::new(86, 180, 233),
    Rgb888::new(230, 159, 0),
    Rgb888::new(204, 121, 167),
    Rgb888::new(240, 228, 66),
];

/// A picture with a longer side of so many pixels has lines of two pixels. Those of larger pictures
/// are wider, and their texts larger.
const SIDE: u32 = 500;

/// The picture with these boxes.
pub(crate) fn with_boxes(picture: RgbImage, boxes: &[LabelledBox]) -> RgbImage {
    let (width, height) = picture.dimensions();
    let scale = (width.max(height) / SIDE).max(1);
    let mut canvas = Canvas { picture, scale };
    for labelled in boxes {
        let Ok(()) = canvas.draw(labelled, [width, height]);
    }
    canvas.picture
}

/// A picture in which each point that is drawn is a square of `scale` × `scale` pixels.
struct Canvas {
    picture: RgbImage,
    scale: u32,
}

impl Canvas {
    fn draw(
        &mut self,
        labelled: &LabelledBox,
        [width, height]: [u32; 2],
    ) -> Result<(), Infallible> {
        let colour = COLOURS[labelled.class % COLOURS.len()];
        // Casts of floats keep within the numbers that there are.
        let [left, top, wide, high] = labelled.bounds.in_pixels(width, height);
        let points = |pixels: f32| (pixels / self.scale as f32).round() as i32;
        let corner = Point::new(points(left), points(top));
        let size = Size::new(points(wide).max(1) as u32, points(high).max(1) as u32);
        Rectangle::new(corner, size)
            .into_styled(PrimitiveStyle::with_stroke(colour, 2))
            .draw(self)?;
        let font = &FONT_8X13_BOLD;
        let style = MonoTextStyle::new(font, Rgb888::BLACK);
        let text = Text::with_baseline(&labelled.text, corner, style, Baseline::Top);
        let place = text.bounding_box();
        // The text stands above the box, or in it if there is no room above, and not beyond the
        // right edge.
        let most_left = self.size().width as i32 - place.size.width as i32;
        let above = corner.y - place.size.height as i32;
        let at = Point::new(
            corner.x.min(most_left).max(0),
            if above < 0 { corner.y.max(0) } else { above },
        );
        Rectangle::new(at, place.size)
            .into_styled(PrimitiveStyle::with_fill(colour))
            .draw(self)?;
        Text::with_baseline(&labelled.text, at, style, Baseline::Top).draw(self)?;
        Ok(())
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        let (width, height) = self.picture.dimensions();
        Size::new(width / self.scale, height / self.scale)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        let (width, height) = self.picture.dimensions();
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y)) else {
                continue;
            };
            let along = |at: u32, length: u32| {
                let start = at.saturating_mul(self.scale);
                start..start.saturating_add(self.scale).min(length)
            };
            for y in along(y, height) {
                for x in along(x, width) {
                    let colour = Rgb([colour.r(), colour.g(), colour.b()]);
                    self.picture.put_pixel(x, y, colour);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(left: f32, top: f32) -> LabelledBox {
        LabelledBox {
            bounds: Bounds {
                left,
                top,
                width: 0.2,
                height: 0.4,
            },
            class: 1,
            text: "with_mask 98 %".to_owned(),
        }
    }

    #[test]
    fn a_box_and_its_text_are_drawn_and_the_rest_of_the_picture_stays() {
        let grey = RgbImage::from_pixel(400, 200, Rgb([90; 3]));
        let drawn = with_boxes(grey, &[labelled(0.5, 0.4)]);
        let vermilion = [213, 94, 0];
        assert_eq!(drawn.get_pixel(200, 120).0, vermilion, "the left edge");
        assert_eq!(drawn.get_pixel(279, 120).0, vermilion, "the right edge");
        assert_eq!(drawn.get_pixel(240, 80).0, vermilion, "the top edge");
        assert_eq!(drawn.get_pixel(240, 120).0, [90; 3], "inside");
        assert_eq!(drawn.get_pixel(100, 120).0, [90; 3], "outside");
        let texts = (200..312).flat_map(|x| (67..80).map(move |y| (x, y)));
        let mut texts = texts.map(|(x, y)| drawn.get_pixel(x, y).0);
        assert!(texts.any(|pixel| pixel == [0; 3]), "the text");
    }

    #[test]
    fn large_pictures_have_wide_lines() {
        let grey = RgbImage::from_pixel(2000, 1000, Rgb([90; 3]));
        let drawn = with_boxes(grey, &[labelled(0.5, 0.4)]);
        let line = (990..1010).filter(|&x| drawn.get_pixel(x, 600).0 != [90; 3]);
        assert_eq!(line.count(), 8);
    }

    #[test]
    fn boxes_that_reach_beyond_the_picture_are_cut_off() {
        let grey = RgbImage::from_pixel(60, 40, Rgb([90; 3]));
        for (left, top) in [(-0.1, -0.2), (0.95, 0.9), (3.0, -7.0), (f32::MAX, f32::NAN)] {
            let drawn = with_boxes(grey.clone(), &[labelled(left, top)]);
            assert_eq!(drawn.dimensions(), (60, 40));
        }
    }
}
