//! Pixels: bytes from anywhere become pictures, and pictures what networks and
//! people need of them. It knows nothing of queues or stores.
//!
//! * [`decode`]: bytes → RGB, safely, or the reason why not.
//! * [`resize`], [`encode`]: a bounded picture, a square one, a JPEG.
//! * [`measure`], [`hash`]: how bright, how sharp, what it looks like.
//! * [`augment`], [`planes`]: what a network is fed with.

pub mod augment;
pub mod decode;
pub mod encode;
pub mod hash;
pub mod measure;
pub mod planes;
pub mod resize;

pub use decode::{Decoded, Limits, decode};
