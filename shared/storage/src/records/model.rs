//! A published model.

use maskline_messages::{DatasetId, Label, Method, RunId};
use serde::{Deserialize, Serialize};

use super::evaluation::Evaluation;

/// A published model. Its weights and its report lie under `models/<id>/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The run that trained it.
    pub id: RunId,
    pub dataset: DatasetId,
    /// What was trained. The network of the weights is [`Method::network`].
    pub network: Method,
    pub classes: Vec<Label>,
    /// The side of the network's square input in pixels.
    pub pixels: u32,
    pub parameters: u64,
    /// The accuracy on the validation split.
    pub accuracy: f32,
    /// The loss on the validation split.
    pub loss: f32,
    /// `None` for the models of earlier builds.
    #[serde(default)]
    pub evaluation: Option<Evaluation>,
    /// How many seconds the training took, in all attempts.
    pub seconds: f64,
    pub created: u64,
}
