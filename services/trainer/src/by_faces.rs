//! How good a network is by the faces in the pictures: by how many there are, and how large the best
//! of them is.

use maskline_models::prediction::{Prediction, Tally};
use serde::Serialize;

use crate::{examples::Example, shown::Faces};

/// How good a network is on the images of a kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FaceScore {
    /// The kind, in words.
    pub(crate) pictures: &'static str,
    pub(crate) images: u64,
    /// The share of the images whose class is predicted, 0 to 1.
    pub(crate) accuracy: f64,
    /// The 95 % confidence interval of the accuracy.
    pub(crate) interval: [f64; 2],
}

/// A kind of pictures.
struct Kind {
    name: &'static str,
    has: fn(&Faces) -> bool,
}

/// All kinds. The sizes are those of pictures with one face.
const KINDS: [Kind; 6] = [
    Kind {
        name: "without a face",
        has: |faces| faces.count == 0,
    },
    Kind {
        name: "with one face",
        has: |faces| faces.count == 1,
    },
    Kind {
        name: "with one face, below 1/4 of the image's longer side",
        has: |faces| faces.count == 1 && faces.share < 0.25,
    },
    Kind {
        name: "with one face, 1/4 to 1/2 of the image's longer side",
        has: |faces| faces.count == 1 && (0.25..0.5).contains(&faces.share),
    },
    Kind {
        name: "with one face, 1/2 of the image's longer side or more",
        has: |faces| faces.count == 1 && faces.share >= 0.5,
    },
    Kind {
        name: "with several faces",
        has: |faces| faces.count > 1,
    },
];

/// Adds up predictions for each kind.
#[derive(Debug, Default)]
pub(crate) struct ByFaces([Tally; KINDS.len()]);

impl ByFaces {
    /// Adds the prediction for an image. One in which nobody looked for faces is of no kind.
    pub(crate) fn add(&mut self, prediction: &Prediction, example: &Example) {
        let Some(faces) = example.faces else {
            return;
        };
        for (kind, tally) in KINDS.iter().zip(&mut self.0) {
            if (kind.has)(&faces) {
                tally.add(prediction, example.class);
            }
        }
    }

    /// The scores for the kinds of which there are images.
    pub(crate) fn scores(&self) -> Vec<FaceScore> {
        let found = KINDS.iter().zip(&self.0);
        let found = found.filter(|(_, tally)| tally.images > 0);
        found
            .map(|(kind, tally)| FaceScore {
                pictures: kind.name,
                images: tally.images,
                accuracy: tally.accuracy(),
                interval: tally.interval().into(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_with_a_face_is_of_one_size() {
        for share in [0.0, 0.1, 0.25, 0.4, 0.5, 0.9, 1.4] {
            let faces = Faces {
                shown: None,
                share,
                count: 1,
            };
            let kinds = KINDS.iter().filter(|kind| (kind.has)(&faces));
            let names: Vec<_> = kinds.map(|kind| kind.name).collect();
            assert_eq!(names.len(), 2, "{share}: {names:?}");
            assert_eq!(names[0], "with one face");
        }
    }
}
