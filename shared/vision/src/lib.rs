//! Image processing: files become pictures, pictures are measured and resized, and
//! become the input of a network. It knows nothing of queues or stores.
//!
//! * [`decode`](mod@decode): decodes a file to RGB, or says why it can't be decoded.
//! * [`resize`], [`encode`]: a smaller picture, a square one, a JPEG.
//! * [`measure`]: brightness, contrast, sharpness, a perceptual hash.
//! * [`mod@fingerprint`]: what other crops of the same photograph are found by.
//! * [`view`]: the part of a picture that a network is shown.
//! * [`augment`], [`planes`]: the input of a network.
//! * [`corruption`]: damage, to measure how well a network bears it.

pub mod augment;
pub mod corruption;
pub mod decode;
pub mod encode;
pub mod fingerprint;
mod hash;
mod luma;
pub mod measure;
pub mod planes;
pub mod resize;
mod scale_space;
pub mod view;

pub use decode::{Decoded, Limits, decode};
