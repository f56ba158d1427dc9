//! The part of a picture that a network is shown: its best face, or all of it.
//!
//! A mask covers a part of a face. A network that is shown the face sees it at the same size in
//! every picture, and learns nothing from the framing, which in scraped data often tells the class.

use image::RgbImage;
use maskline_messages::{Bounds, Face, View};

use crate::resize::{self, Crop};

/// How many times the side of a face the side of its square is. A close-up is there in nearly
/// every picture with a face, however closely that was cut, so that it looks alike in all of them.
const CLOSE_UP_SIDES: f32 = 1.05;
/// The view of a face is larger: it shows some of the hair and the neck, and the straps of a mask.
const FACE_SIDES: f32 = 1.6;

/// The face that the view of a face is around. `None` if the view is the whole picture. Training,
/// predictions and the labeler have this one rule.
///
/// Of several faces it is the best, though the picture's label may be that of another. A network that
/// is shown whole pictures of groups learns the framing of groups, and what it is asked later are
/// single faces. The report tells the accuracy on these pictures apart, and `maskline datasets review`
/// lists them, so that a label can be looked at.
pub fn shown_face(faces: &[Face], width: u32, height: u32) -> Option<&Face> {
    Face::best(faces, width, height)
}

/// A part of a picture, in pixels and fractions of pixels. It lies in the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
}

impl Part {
    /// What a network is shown of a picture of `width` × `height` pixels with these faces: the
    /// square around one of them, see [`shown_face`], or all of the picture.
    pub fn of(view: View, faces: &[Face], width: u32, height: u32) -> Self {
        let shown = shown_face(faces, width, height);
        Self::of_shown(view, shown.map(|face| &face.bounds), width, height)
    }

    /// The same for the box of [`shown_face`].
    pub fn of_shown(view: View, shown: Option<&Bounds>, width: u32, height: u32) -> Self {
        match (view, shown) {
            (View::CloseUp, Some(face)) => Self::around(face, CLOSE_UP_SIDES, width, height),
            (View::Face, Some(face)) => Self::around(face, FACE_SIDES, width, height),
            (View::CloseUp | View::Face, None) | (View::Whole, _) => Self::whole(width, height),
        }
    }

    /// All of a picture.
    pub fn whole(width: u32, height: u32) -> Self {
        Self {
            left: 0.0,
            top: 0.0,
            width: width as f32,
            height: height as f32,
        }
    }

    /// The square around a face, `sides` times as large as the longer side of its box. Where it
    /// reaches beyond the picture it is moved into it, and where it is larger than the picture it is
    /// cut off.
    fn around(face: &Bounds, sides: f32, width: u32, height: u32) -> Self {
        let side = sides * face.side(width, height);
        let middle = [
            (face.left + face.width / 2.0) * width as f32,
            (face.top + face.height / 2.0) * height as f32,
        ];
        Self::within(middle, [side; 2], [width, height])
    }

    /// The part of this size around this point, moved into the picture and no larger than it.
    fn within(middle: [f32; 2], size: [f32; 2], picture: [u32; 2]) -> Self {
        let along = |axis: usize| {
            let longest = picture[axis] as f32;
            // A picture or a part without pixels still is a part of one pixel.
            let length = size[axis].max(1.0).min(longest.max(1.0));
            let start = middle[axis] - length / 2.0;
            (start.min(longest - length).max(0.0), length)
        };
        let ((left, width), (top, height)) = (along(0), along(1));
        Self {
            left,
            top,
            width,
            height,
        }
    }

    /// The part with a border around it, `times` as large, in a picture of `width` × `height`
    /// pixels. It is moved into the picture, and cut off where the picture is smaller.
    pub fn enlarged(self, times: f32, width: u32, height: u32) -> Self {
        let middle = [self.left + self.width / 2.0, self.top + self.height / 2.0];
        let size = [self.width, self.height].map(|side| side * times);
        Self::within(middle, size, [width, height])
    }

    /// Where this part lies in `outer`, after that became a square picture of `side` × `side`
    /// pixels.
    pub fn inside(self, outer: &Self, side: u32) -> Self {
        let (x, y) = (side as f32 / outer.width, side as f32 / outer.height);
        Self {
            left: (self.left - outer.left) * x,
            top: (self.top - outer.top) * y,
            width: self.width * x,
            height: self.height * y,
        }
    }

    /// The part as a picture of `side` × `side` pixels, resized once from the picture's own pixels.
    /// A part that is no square is stretched to one.
    pub fn square(self, picture: &RgbImage, side: u32) -> RgbImage {
        let (width, height) = picture.dimensions();
        if self == Self::whole(width, height) {
            return resize::square(picture, side);
        }
        resize::stretch(picture, Some(self.into()), side, side)
    }
}

impl From<Part> for Crop {
    fn from(part: Part) -> Self {
        Self {
            left: part.left.into(),
            top: part.top.into(),
            width: part.width.into(),
            height: part.height.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use maskline_messages::Point;

    use super::*;

    fn face(left: f32, top: f32, width: f32, height: f32, score: f32) -> Face {
        Face {
            bounds: Bounds {
                left,
                top,
                width,
                height,
            },
            score,
            key_points: [Point { x: 0.0, y: 0.0 }; 6].into(),
        }
    }

    fn check(part: Part, expected: [f32; 4]) {
        let found = [part.left, part.top, part.width, part.height];
        for (value, expected) in found.into_iter().zip(expected) {
            assert!((value - expected).abs() < 1e-3, "{part:?}");
        }
    }

    /// A red square of 40 pixels at (100, 60) on grey, and a green one of 20 at (20, 20).
    fn picture() -> RgbImage {
        let inside = |at: u32, start: u32, side: u32| (start..start + side).contains(&at);
        RgbImage::from_fn(200, 150, |x, y| {
            if inside(x, 100, 40) && inside(y, 60, 40) {
                Rgb([200, 0, 0])
            } else if inside(x, 20, 20) && inside(y, 20, 20) {
                Rgb([0, 200, 0])
            } else {
                Rgb([90; 3])
            }
        })
    }

    const RED: [f32; 4] = [0.5, 0.4, 0.2, 40.0 / 150.0];
    const GREEN: [f32; 4] = [0.1, 20.0 / 150.0, 0.1, 20.0 / 150.0];

    fn faces() -> [Face; 2] {
        [(GREEN, 0.95), (RED, 0.7)]
            .map(|([left, top, width, height], score)| face(left, top, width, height, score))
    }

    fn around(face: &Face, width: u32, height: u32) -> Part {
        Part::of_shown(View::Face, Some(&face.bounds), width, height)
    }

    #[test]
    fn a_close_up_is_about_as_large_as_the_face() {
        let part = Part::of(View::CloseUp, &faces(), 200, 150);
        check(part, [99.0, 59.0, 42.0, 42.0]);
        let tight = face(0.1, 0.0, 0.8, 1.0, 0.9);
        let whole = Part::of(View::CloseUp, &[tight], 100, 100);
        check(whole, [0.0, 0.0, 100.0, 100.0]);
        assert_eq!(
            Part::of(View::CloseUp, &[], 200, 150),
            Part::whole(200, 150)
        );
    }

    #[test]
    fn the_square_of_the_largest_face_is_cut_out() {
        let part = Part::of(View::Face, &faces(), 200, 150);
        check(part, [88.0, 48.0, 64.0, 64.0]);
        let square = part.square(&picture(), 64);
        assert_eq!(square.get_pixel(32, 32).0, [200, 0, 0]);
        assert_eq!(square.get_pixel(14, 14).0, [200, 0, 0]);
        assert_eq!(square.get_pixel(10, 10).0, [90; 3]);
        assert_eq!(square.get_pixel(53, 53).0, [90; 3]);
    }

    #[test]
    fn a_square_at_the_edge_is_moved_into_the_picture() {
        let corner = face(0.9, -0.05, 0.15, 0.2, 0.9);
        let part = around(&corner, 200, 150);
        check(part, [152.0, 0.0, 48.0, 48.0]);
    }

    #[test]
    fn a_square_that_is_larger_than_the_picture_is_cut_off() {
        let large = face(0.1, 0.1, 0.8, 0.8, 0.9);
        let part = around(&large, 200, 150);
        check(part, [0.0, 0.0, 200.0, 150.0]);
        let high = face(0.3, 0.1, 0.4, 0.8, 0.9);
        let part = around(&high, 400, 150);
        check(part, [72.0, 0.0, 256.0, 150.0]);
    }

    #[test]
    fn without_a_face_and_for_the_whole_view_it_is_the_picture() {
        let whole = Part::whole(200, 150);
        assert_eq!(Part::of(View::Face, &[], 200, 150), whole);
        assert_eq!(Part::of(View::Whole, &faces(), 200, 150), whole);
        let stretched = resize::square(&picture(), 50);
        assert_eq!(whole.square(&picture(), 50), stretched);
    }

    #[test]
    fn a_border_is_moved_into_the_picture_and_cut_off_where_that_is_smaller() {
        let part = around(&faces()[1], 200, 150);
        check(part.enlarged(1.5, 200, 150), [72.0, 32.0, 96.0, 96.0]);
        check(part.enlarged(2.0, 200, 150), [56.0, 16.0, 128.0, 128.0]);
        check(part.enlarged(2.5, 200, 150), [40.0, 0.0, 160.0, 150.0]);
        let whole = Part::whole(200, 150);
        assert_eq!(whole.enlarged(1.2, 200, 150), whole);
    }

    #[test]
    fn a_part_is_found_again_in_the_picture_of_its_border() {
        let part = Part::of(View::Face, &faces(), 200, 150);
        let border = part.enlarged(2.5, 200, 150);
        let kept = border.square(&picture(), 100);
        let again = part.inside(&border, 100);
        check(again, [30.0, 32.0, 40.0, 64.0 / 1.5]);
        let (once, twice) = (part.square(&picture(), 32), again.square(&kept, 32));
        for (x, y) in [(16, 16), (2, 2), (29, 16)] {
            let difference = once.get_pixel(x, y)[0].abs_diff(twice.get_pixel(x, y)[0]);
            assert!(difference < 8, "{difference} at {x}, {y}");
        }
    }

    #[test]
    fn degenerate_boxes_and_pictures_still_give_a_view() {
        let dot = RgbImage::from_pixel(1, 1, Rgb([7; 3]));
        for face in [
            face(0.5, 0.5, 0.0, 0.0, 0.9),
            face(-3.0, 9.0, 0.1, 0.1, 0.9),
            face(0.0, 0.0, f32::MAX, f32::NAN, 0.9),
        ] {
            for picture in [&picture(), &dot] {
                let square = {
                    let (width, height) = picture.dimensions();
                    Part::of(View::Face, &[face], width, height).square(picture, 8)
                };
                assert_eq!(square.dimensions(), (8, 8));
            }
        }
    }
}
