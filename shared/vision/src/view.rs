//! What a network is shown of a picture: its best face, or all of it.
//!
//! A mask covers a part of a face. A network that is shown the face sees it at the same size in
//! every picture, and learns nothing from the framing, which in scraped data often tells the class.

use image::RgbImage;
use maskline_messages::Face;
use rand::{Rng, RngExt};

use crate::resize::{self, Crop};

/// How many times the side of a face the side of its square is. It shows the face with some of the
/// hair and the neck, and the straps of a mask.
const FACE_SIDES: f32 = 1.6;

/// What a network is shown of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum View {
    /// A square around the best face, or the whole picture if there is no face.
    #[default]
    Face,
    /// The whole picture.
    Whole,
}

/// The part of a picture that is shown, in pixels and fractions of pixels. It lies in the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
}

/// How a part is moved and resized for training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// How far the middle moves, in sides of the part.
    pub shift: [f32; 2],
    /// How many times as large it becomes.
    pub scale: f32,
}

impl View {
    /// The part of a picture of `width` × `height` pixels that shows the best of `faces`, or all of
    /// it. Without a face the view of a face is the whole picture.
    pub fn part(self, width: u32, height: u32, faces: &[Face]) -> Part {
        let whole = Part::whole(width, height);
        match (self, Face::best(faces, width, height)) {
            (Self::Face, Some(face)) => Part::around(face, width, height),
            (Self::Face, None) | (Self::Whole, _) => whole,
        }
    }

    /// The view as a square picture of `side` × `side` pixels, resized once. A part that is no
    /// square is stretched to one.
    pub fn square(self, picture: &RgbImage, faces: &[Face], side: u32) -> RgbImage {
        let (width, height) = picture.dimensions();
        self.part(width, height, faces).square(picture, side)
    }
}

impl Part {
    /// All of a picture.
    pub fn whole(width: u32, height: u32) -> Self {
        Self {
            left: 0.0,
            top: 0.0,
            width: width as f32,
            height: height as f32,
        }
    }

    /// The square around a face, 1.6 times as large as its longer side. Where it reaches beyond the
    /// picture it is moved into it, and where it is larger than the picture it is cut off.
    pub fn around(face: &Face, width: u32, height: u32) -> Self {
        let side = FACE_SIDES * face.side(width, height);
        let bounds = face.bounds;
        let middle = [
            (bounds.left + bounds.width / 2.0) * width as f32,
            (bounds.top + bounds.height / 2.0) * height as f32,
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

    /// This part moved and resized, in a picture of `width` × `height` pixels. It stays in it.
    pub fn jittered(self, jitter: Jitter, width: u32, height: u32) -> Self {
        let [right, down] = jitter.shift;
        let middle = [
            self.left + self.width * (0.5 + right),
            self.top + self.height * (0.5 + down),
        ];
        let size = [self.width, self.height].map(|side| side * jitter.scale);
        Self::within(middle, size, [width, height])
    }

    /// The same part of the same picture at another size, `scale` times as large.
    pub fn scaled(self, scale: f32) -> Self {
        Self {
            left: self.left * scale,
            top: self.top * scale,
            width: self.width * scale,
            height: self.height * scale,
        }
    }

    /// The part as a picture of `side` × `side` pixels, resized once from the picture's own pixels.
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

impl Jitter {
    /// Draws a jitter: a shift by at most `shift` sides along both axes, and a scale between
    /// 1 / `scale` and `scale`, in which enlarging and shrinking are equally likely.
    pub fn draw(shift: f32, scale: f32, random: &mut impl Rng) -> Self {
        let mut evenly = |most: f32| most * (2.0 * random.random::<f32>() - 1.0);
        Self {
            shift: [evenly(shift), evenly(shift)],
            scale: evenly(scale.ln()).exp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use maskline_messages::{Bounds, Point};
    use rand::{SeedableRng, rngs::StdRng};

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

    #[test]
    fn the_square_of_the_largest_face_is_cut_out() {
        let part = View::Face.part(200, 150, &faces());
        check(part, [88.0, 48.0, 64.0, 64.0]);
        let square = View::Face.square(&picture(), &faces(), 64);
        assert_eq!(square.get_pixel(32, 32).0, [200, 0, 0]);
        assert_eq!(square.get_pixel(14, 14).0, [200, 0, 0]);
        assert_eq!(square.get_pixel(10, 10).0, [90; 3]);
        assert_eq!(square.get_pixel(53, 53).0, [90; 3]);
    }

    #[test]
    fn a_square_at_the_edge_is_moved_into_the_picture() {
        let corner = face(0.9, -0.05, 0.15, 0.2, 0.9);
        let part = Part::around(&corner, 200, 150);
        check(part, [152.0, 0.0, 48.0, 48.0]);
    }

    #[test]
    fn a_square_that_is_larger_than_the_picture_is_cut_off() {
        let large = face(0.1, 0.1, 0.8, 0.8, 0.9);
        let part = Part::around(&large, 200, 150);
        check(part, [0.0, 0.0, 200.0, 150.0]);
        let high = face(0.3, 0.1, 0.4, 0.8, 0.9);
        let part = Part::around(&high, 400, 150);
        check(part, [72.0, 0.0, 256.0, 150.0]);
    }

    #[test]
    fn without_a_face_and_for_the_whole_view_it_is_the_picture() {
        let whole = Part::whole(200, 150);
        assert_eq!(View::Face.part(200, 150, &[]), whole);
        assert_eq!(View::Whole.part(200, 150, &faces()), whole);
        let stretched = resize::square(&picture(), 50);
        assert_eq!(View::Face.square(&picture(), &[], 50), stretched);
        assert_eq!(View::Whole.square(&picture(), &faces(), 50), stretched);
    }

    #[test]
    fn a_jitter_moves_and_resizes_within_the_picture() {
        let part = Part::around(&faces()[1], 200, 150);
        let still = Jitter {
            shift: [0.0; 2],
            scale: 1.0,
        };
        check(part.jittered(still, 200, 150), [88.0, 48.0, 64.0, 64.0]);
        let jitter = Jitter {
            shift: [0.25, -0.25],
            scale: 0.5,
        };
        check(part.jittered(jitter, 200, 150), [120.0, 48.0, 32.0, 32.0]);
        let mut random = StdRng::seed_from_u64(5);
        for _ in 0..1_000 {
            let part = part.jittered(Jitter::draw(0.5, 2.0, &mut random), 200, 150);
            assert!(part.left >= 0.0 && part.left + part.width <= 200.0 + 1e-3);
            assert!(part.top >= 0.0 && part.top + part.height <= 150.0 + 1e-3);
            assert!(part.width >= 31.9 && part.height >= 31.9, "{part:?}");
        }
    }

    #[test]
    fn jitters_are_drawn_evenly_around_none() {
        let mut random = StdRng::seed_from_u64(9);
        let draws: Vec<_> = (0..2_000)
            .map(|_| Jitter::draw(0.1, 1.25, &mut random))
            .collect();
        assert!(draws.iter().all(|draw| {
            draw.shift.iter().all(|shift| shift.abs() <= 0.1)
                && (0.799..=1.251).contains(&draw.scale)
        }));
        let larger = draws.iter().filter(|draw| draw.scale > 1.0).count();
        let right = draws.iter().filter(|draw| draw.shift[0] > 0.0).count();
        assert!((850..1_150).contains(&larger), "{larger} of 2000");
        assert!((850..1_150).contains(&right), "{right} of 2000");
    }

    #[test]
    fn a_part_of_the_same_picture_at_another_size_shows_the_same() {
        let small = resize::bounded(&picture(), 100);
        let part = View::Face.part(200, 150, &faces()).scaled(0.5);
        assert_eq!(part.square(&small, 16).get_pixel(8, 8).0, [200, 0, 0]);
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
                let square = View::Face.square(picture, &[face], 8);
                assert_eq!(square.dimensions(), (8, 8));
            }
        }
    }
}
