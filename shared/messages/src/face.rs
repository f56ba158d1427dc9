//! A face that was found in a picture.

use serde::{Deserialize, Serialize};

/// A face in a picture. All places are shares of the upright picture's width and height: (0, 0)
/// is its top left corner and (1, 1) its bottom right. They may lie slightly outside.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Face {
    pub bounds: Bounds,
    /// How sure the detector is that this is a face, 0 to 1.
    pub score: f32,
    pub key_points: KeyPoints,
}

/// The box around a face, from the forehead to the chin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
}

/// A point of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// Six points of a face. Left and right are those of the person who is seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeyPoints {
    pub right_eye: Point,
    pub left_eye: Point,
    pub nose_tip: Point,
    pub mouth: Point,
    /// Where the right ear begins.
    pub right_ear: Point,
    /// Where the left ear begins.
    pub left_ear: Point,
}

impl Face {
    /// The face that counts where a picture has several: the largest of those that the detector
    /// is sure of, by score × side in pixels. `None` if there is no face.
    ///
    /// `width` and `height` are the picture's size in pixels.
    pub fn best(faces: &[Self], width: u32, height: u32) -> Option<&Self> {
        let weight = |face: &Self| face.weight(width, height);
        // Of several that weigh the same it is the first.
        let faces = faces.iter().rev();
        faces.max_by(|a, b| weight(a).total_cmp(&weight(b)))
    }

    /// Sorts the faces of a picture, the best of them first, see [`Self::best`].
    pub fn sort(faces: &mut [Self], width: u32, height: u32) {
        let weight = |face: &Self| face.weight(width, height);
        faces.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    }

    fn weight(&self, width: u32, height: u32) -> f32 {
        self.score * self.bounds.side(width, height)
    }
}

impl Bounds {
    /// The longer side in pixels, in a picture of `width` × `height` pixels.
    pub fn side(&self, width: u32, height: u32) -> f32 {
        (self.width * width as f32).max(self.height * height as f32)
    }

    /// Left, top, width and height in pixels, in a picture of `width` × `height` pixels.
    pub fn in_pixels(&self, width: u32, height: u32) -> [f32; 4] {
        let (width, height) = (width as f32, height as f32);
        [
            self.left * width,
            self.top * height,
            self.width * width,
            self.height * height,
        ]
    }
}

impl KeyPoints {
    /// The points in the order of the fields.
    pub fn each(&self) -> [Point; 6] {
        [
            self.right_eye,
            self.left_eye,
            self.nose_tip,
            self.mouth,
            self.right_ear,
            self.left_ear,
        ]
    }
}

impl From<[Point; 6]> for KeyPoints {
    /// Takes the points in the order of the fields.
    fn from([right_eye, left_eye, nose_tip, mouth, right_ear, left_ear]: [Point; 6]) -> Self {
        Self {
            right_eye,
            left_eye,
            nose_tip,
            mouth,
            right_ear,
            left_ear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(width: f32, height: f32, score: f32) -> Face {
        let bounds = Bounds {
            left: 0.0,
            top: 0.0,
            width,
            height,
        };
        Face {
            bounds,
            score,
            key_points: [Point { x: 0.0, y: 0.0 }; 6].into(),
        }
    }

    #[test]
    fn the_best_face_is_large_and_certain() {
        let (large, certain) = (face(0.4, 0.4, 0.6), face(0.2, 0.2, 0.99));
        assert_eq!(Face::best(&[certain, large], 100, 100), Some(&large));
        let doubtful = face(0.5, 0.5, 0.4);
        assert_eq!(Face::best(&[doubtful, large], 100, 100), Some(&large));
        assert_eq!(Face::best(&[], 100, 100), None);
        let mut sorted = [doubtful, certain, large];
        Face::sort(&mut sorted, 100, 100);
        assert_eq!(sorted, [large, doubtful, certain]);
    }

    #[test]
    fn sides_are_compared_in_pixels() {
        let (wide, high) = (face(0.2, 0.1, 0.9), face(0.1, 0.3, 0.9));
        assert_eq!(Face::best(&[wide, high], 400, 100), Some(&wide));
        assert_eq!(Face::best(&[wide, high], 100, 100), Some(&high));
    }
}
