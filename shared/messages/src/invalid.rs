//! What is wrong with a text that should be an id or another name.

use thiserror::Error;

/// A text that is no id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidId {
    pub text: String,
    pub expected: &'static str,
}

impl InvalidId {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        let text = text.chars().take(80).collect();
        Self { text, expected }
    }
}
