//! Pretrained weights that come with maskline, so that a newcomer has a network that has seen a
//! million photographs without any download. README.md beside this crate says where they are from.
//!
//! They make a program seven megabytes larger. Only what trains depends on this crate.

use maskline_messages::NetworkName;

/// The pretrained layers of a network, without its classifier.
#[derive(Clone, Copy)]
pub struct Backbone {
    pub network: NetworkName,
    /// A safetensors file of `f16`, for `maskline_models::weights::backbone`.
    pub safetensors: &'static [u8],
    /// The SHA-256 of the file, in hexadecimal digits.
    pub sha256: &'static str,
}

/// EfficientNet-Lite0, trained on ImageNet.
pub const EFFICIENTNET_LITE0: Backbone = Backbone {
    network: NetworkName::EfficientnetLite0,
    safetensors: include_bytes!("../efficientnet_lite0.safetensors"),
    sha256: "d2dd3896e5fbb43c72d5f80677855e20b2118cea816458c302f62d612e6d6cc8",
};

/// The pretrained layers of a network, if maskline comes with some.
pub fn backbone(network: NetworkName) -> Option<Backbone> {
    (network == EFFICIENTNET_LITE0.network).then_some(EFFICIENTNET_LITE0)
}
