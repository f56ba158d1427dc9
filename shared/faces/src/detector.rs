//! The detector: pictures in, faces out.

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use image::RgbImage;
use maskline_messages::{Bounds, Face, View};

use crate::{
    candidates::{Candidate, candidates},
    error::FaceError,
    letterbox::Letterbox,
    network::BlazeFace,
    suppression::suppressed,
    table::SIDE,
    weights::PUBLISHED,
};

/// The least score of a face.
const MIN_SCORE: f32 = 0.5;

/// The most faces of a picture that are told. Nobody looks at the others of a crowd.
const MOST_FACES: usize = 32;

/// How the picture is shown to the network, until it finds a face: how many times the picture's
/// longer side the input's side is. A face that fills the picture, or is cut off by its edge, is
/// found more often with a border.
const PADDINGS: [f64; 2] = [1.0, 1.5];

/// Finds faces. Any number of threads may use it at the same time; each call is computed by the
/// thread that makes it.
#[derive(Debug)]
pub struct FaceDetector {
    network: BlazeFace,
    device: Device,
}

impl FaceDetector {
    /// A detector on the CPU, with the weights that this program has in it.
    ///
    /// # Errors
    /// [`FaceError::Damaged`] if the program was built with damaged weights.
    pub fn new() -> Result<Self, FaceError> {
        let device = Device::flex();
        let network = BlazeFace::new(PUBLISHED, &device)?.no_grad();
        Ok(Self { network, device })
    }

    /// A detector for programs that make this view of pictures. The view of whole pictures needs
    /// none.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn for_view(view: View) -> Result<Option<Self>, FaceError> {
        match view {
            View::CloseUp | View::Face => Self::new().map(Some),
            View::Whole => Ok(None),
        }
    }

    /// The faces of an upright picture, the one with the highest score first, 32 at most. The
    /// same picture gives the same faces.
    pub fn detect(&self, picture: &RgbImage) -> Vec<Face> {
        if picture.is_empty() {
            return vec![];
        }
        let mut passes = PADDINGS.into_iter().map(|padding| {
            let place = Letterbox::new(picture.dimensions(), padding);
            self.pass(picture, place)
        });
        passes.find(|faces| !faces.is_empty()).unwrap_or_default()
    }

    fn pass(&self, picture: &RgbImage, place: Letterbox) -> Vec<Face> {
        let input = TensorData::new(place.input(picture), [1, 3, SIDE, SIDE]);
        let output = self.network.forward(Tensor::from_data(input, &self.device));
        let values = output.values.into_data().convert::<f32>();
        let scores = output.scores.into_data().convert::<f32>();
        let (values, scores) = (values.as_slice(), scores.as_slice());
        let values = values.expect("values on the CPU are 32-bit floats");
        let scores = scores.expect("scores on the CPU are 32-bit floats");
        let found = suppressed(candidates(values, scores, MIN_SCORE));
        let faces = found.iter().take(MOST_FACES);
        faces.map(|candidate| face(candidate, place)).collect()
    }
}

/// A candidate as a face of the picture at this place of the network's input.
fn face(candidate: &Candidate, place: Letterbox) -> Face {
    let [left, top, right, bottom] = candidate.edges;
    let (from, to) = (
        place.to_picture([left, top]),
        place.to_picture([right, bottom]),
    );
    Face {
        bounds: Bounds {
            left: from.x,
            top: from.y,
            width: to.x - from.x,
            height: to.y - from.y,
        },
        score: candidate.score,
        key_points: candidate.points.map(|point| place.to_picture(point)).into(),
    }
}
