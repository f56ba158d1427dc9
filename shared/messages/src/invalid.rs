//! Errors about a text that should be an id or another name.

use maskline_foundation::text::first_chars;
use strum::VariantNames;
use thiserror::Error;

/// The most characters of a wrong text that its error repeats.
const MAX_REPEATED: usize = 80;

/// The text is not an id, or another name, of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidId {
    pub text: String,
    pub expected: &'static str,
}

impl InvalidId {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: first_chars(text, MAX_REPEATED).to_owned(),
            expected,
        }
    }
}

/// The text is none of the names that an enum has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not {expected} ({})", names.join(", "))]
pub struct UnknownName {
    text: String,
    expected: &'static str,
    names: &'static [&'static str],
}

impl UnknownName {
    /// `expected` says what the names of `T` stand for, such as "a network".
    pub(crate) fn new<T: VariantNames>(text: &str, expected: &'static str) -> Self {
        Self {
            text: first_chars(text, MAX_REPEATED).to_owned(),
            expected,
            names: T::VARIANTS,
        }
    }
}
