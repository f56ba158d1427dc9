//! How an image of a dataset becomes what a network is shown: its face, or all of it.

use std::borrow::Cow;

use image::RgbImage;
use maskline_dataset::Row;
use maskline_faces::{FaceDetector, FaceError};
use maskline_messages::{Bounds, Face, TrainingSettings, View};
use maskline_models::weights::Card;
use maskline_vision::view::{Part, shown_face};

/// The input of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InputShape {
    /// The width and the height, in pixels.
    pub(crate) pixels: u32,
    /// What it shows of a picture.
    pub(crate) view: View,
}

impl From<&TrainingSettings> for InputShape {
    fn from(settings: &TrainingSettings) -> Self {
        Self {
            pixels: settings.pixels,
            view: settings.view,
        }
    }
}

impl From<&Card> for InputShape {
    fn from(card: &Card) -> Self {
        Self {
            pixels: card.pixels,
            view: card.view,
        }
    }
}

/// The faces that a picture has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Faces {
    /// The box of the one that the view of a face shows.
    pub(crate) shown: Option<Bounds>,
    /// The longer side of the best of them, as a share of the image's longer side.
    pub(crate) share: f32,
    pub(crate) count: usize,
}

impl Faces {
    fn new(faces: &[Face], width: u32, height: u32) -> Self {
        let best = Face::best(faces, width, height);
        Self {
            shown: shown_face(faces, width, height).map(|face| face.bounds),
            share: best.map_or(0.0, |face| {
                face.bounds.side(width, height) / width.max(height).max(1) as f32
            }),
            count: faces.len(),
        }
    }

    /// The faces of a row. `None` if nobody looked for them.
    pub(crate) fn of_row(row: &Row) -> Option<Self> {
        let faces = row.faces.as_ref();
        faces.map(|faces| Self::new(faces, row.width, row.height))
    }
}

/// A square picture that is kept for training, and the part of it that the network is to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Shown<'a> {
    pub(crate) picture: Cow<'a, RgbImage>,
    pub(crate) part: Part,
}

impl Shown<'_> {
    pub(crate) fn borrowed(&self) -> Shown<'_> {
        Shown {
            picture: Cow::Borrowed(&self.picture),
            part: self.part,
        }
    }

    /// The part as a picture of `side` × `side` pixels.
    pub(crate) fn square(&self, side: u32) -> Cow<'_, RgbImage> {
        let (width, height) = self.picture.dimensions();
        if (width, height) == (side, side) && self.part == Part::whole(width, height) {
            return Cow::Borrowed(&self.picture);
        }
        Cow::Owned(self.part.square(&self.picture, side))
    }
}

/// Cuts what is shown out of pictures.
#[derive(Debug)]
pub(crate) struct Cutter {
    view: View,
    /// How many times as large as the shown part the kept picture is.
    border: f32,
    /// The side of the kept picture, in pixels.
    pub(crate) side: u32,
    /// For pictures in which nobody looked for faces. `None` if the view needs none.
    detector: Option<FaceDetector>,
}

impl Cutter {
    /// A cutter for pictures of this side, that keeps a border around the part that is shown.
    ///
    /// # Errors
    /// If the program was built with a damaged detector.
    pub(crate) fn new(view: View, side: u32, border: f32) -> Result<Self, FaceError> {
        Ok(Self {
            view,
            border,
            side,
            detector: FaceDetector::for_view(view)?,
        })
    }

    /// Whether it looks for faces where nobody did.
    pub(crate) fn looks_for_faces(&self) -> bool {
        self.detector.is_some()
    }

    /// What is shown of a picture, and its faces if they are known then. `faces` is what is known
    /// of them before. If the view needs them and nobody looked for them, they are looked for here.
    pub(crate) fn cut(
        &self,
        picture: &RgbImage,
        faces: Option<Faces>,
    ) -> (Shown<'static>, Option<Faces>) {
        let (width, height) = picture.dimensions();
        let found = |detector: &FaceDetector| {
            let found = detector.detect(picture);
            Faces::new(&found, width, height)
        };
        let faces = faces.or_else(|| self.detector.as_ref().map(found));
        let face = faces.and_then(|faces| faces.shown);
        let part = Part::of_shown(self.view, face.as_ref(), width, height);
        let kept = part.enlarged(self.border, width, height);
        let shown = Shown {
            picture: Cow::Owned(kept.square(picture, self.side)),
            part: part.inside(&kept, self.side),
        };
        (shown, faces)
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use maskline_test_support::messages::face;

    use super::*;

    /// Red grows to the right, and green downwards.
    fn picture() -> RgbImage {
        RgbImage::from_fn(200, 100, |x, y| Rgb([x as u8, (2 * y) as u8, 60]))
    }

    fn faces() -> Option<Faces> {
        let mut face = face();
        face.bounds = Bounds {
            left: 0.6,
            top: 0.3,
            width: 0.1,
            height: 0.2,
        };
        Some(Faces::new(&[face], 200, 100))
    }

    #[test]
    fn a_face_is_shown_and_its_border_is_kept() {
        let cutter = Cutter::new(View::Face, 40, 1.25).unwrap();
        let (shown, faces) = cutter.cut(&picture(), faces());
        assert_eq!(faces.unwrap().count, 1);
        assert_eq!(shown.picture.dimensions(), (40, 40));
        // The face is 20 pixels wide, around 130 and 40: 32 are shown, and 40 kept.
        let middle = |picture: &RgbImage, side: u32| picture.get_pixel(side / 2, side / 2).0;
        let (kept, square) = (middle(&shown.picture, 40), middle(&shown.square(16), 16));
        for middle in [kept, square] {
            assert!(
                middle[0].abs_diff(130) < 3 && middle[1].abs_diff(80) < 3,
                "{middle:?}"
            );
        }
        assert!((shown.part.width - 32.0).abs() < 0.01, "{:?}", shown.part);
    }

    #[test]
    fn without_faces_and_for_the_whole_view_it_is_the_stretched_picture_without_a_border() {
        let stretched = Part::whole(200, 100).square(&picture(), 40);
        for (view, faces, border) in [
            (View::Whole, faces(), 1.25),
            (
                View::Face,
                Some(Faces {
                    shown: None,
                    share: 0.0,
                    count: 0,
                }),
                1.25,
            ),
            // There is nothing like a face in the picture.
            (View::Face, None, 1.0),
        ] {
            let (shown, found) = Cutter::new(view, 40, border)
                .unwrap()
                .cut(&picture(), faces);
            assert_eq!(*shown.picture, stretched);
            assert_eq!(shown.part, Part::whole(40, 40));
            assert!(matches!(shown.square(40), Cow::Borrowed(_)));
            assert_eq!(found.is_some(), faces.is_some() || view == View::Face);
        }
    }
}
