//! What a network is shown of a picture.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};

use crate::invalid::UnknownName;

/// What a network is shown of a picture. The crate `maskline-vision` makes the view.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(
    serialize_all = "snake_case",
    parse_err_ty = UnknownName,
    parse_err_fn = unknown
)]
pub enum View {
    /// A square about as large as the best face, or the whole picture if there is no face.
    CloseUp,
    /// A square around the best face with its hair and its neck, 1.6 times as large as the face, or
    /// the whole picture if there is no face.
    Face,
    /// The whole picture.
    Whole,
}

impl View {
    /// The view of all runs and models of the builds that did not look for faces. Their JSON does
    /// not name it.
    pub fn of_earlier_builds() -> Self {
        Self::Whole
    }
}

fn unknown(text: &str) -> UnknownName {
    UnknownName::new::<View>(text, "a view")
}
