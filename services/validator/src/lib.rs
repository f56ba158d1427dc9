//! The validator: decodes what was fetched, and says whether it is fit to learn
//! from.
//!
//! A picture that is becomes a bounded RGB JPEG without metadata, and is measured
//! on the way; one that is not is rejected with the reason.
//!
//! * [`judge`]: the verdict on some bytes, without any store.
//! * [`checks`]: what makes a picture unfit, one file each.
//! * [`stage`]: takes ImageFetched, gives ImageValidated and ImageRejected.

mod args;
pub mod checks;
pub mod judge;
pub mod stage;

pub use args::{Args, LimitArgs, service};
pub use judge::{Accepted, Rejected, judge};

/// The service's name.
pub const NAME: &str = "validator";
