//! The position at which a step of a search begins.

use serde::{Deserialize, Serialize};

/// The position in a search. It travels as JSON in the message that asks for the step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SearchCursor {
    /// The provider's number in the search's list, from 0 on.
    pub(super) provider: usize,
    /// The page of that provider, in its own words. `None` is its first page.
    pub(super) page: Option<String>,
    /// The results that the provider gave before this page.
    pub(super) rank: u64,
    /// The candidates that were found before, at all providers.
    pub(super) found: u64,
    /// The pages without any result that came last, one after the other.
    #[serde(default)]
    pub(super) empty: u32,
}

impl SearchCursor {
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts can be written as JSON")
    }
}
