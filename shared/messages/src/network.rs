//! The networks that can be trained.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray, VariantNames};

use crate::invalid::UnknownName;

/// A network, by the name that it has in torchvision. torchvision does not have EfficientNet-Lite0,
/// and its name follows the others.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(
    serialize_all = "snake_case",
    parse_err_ty = UnknownName,
    parse_err_fn = unknown
)]
pub enum NetworkName {
    MobilenetV2,
    MobilenetV3Small,
    Mnasnet1_0,
    EfficientnetB0,
    EfficientnetLite0,
}

fn unknown(text: &str) -> UnknownName {
    UnknownName::new::<NetworkName>(text, "a network")
}

impl NetworkName {
    pub const ALL: [Self; <Self as VariantArray>::VARIANTS.len()] =
        *<Self as VariantArray>::VARIANTS
            .first_chunk()
            .expect("the length is the same");

    /// The network's name, which is the name in JSON and on the command line too.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
