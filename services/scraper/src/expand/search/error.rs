//! How a request to a provider fails.

use std::time::Duration;

use maskline_messages::SearchProvider;
use maskline_storage::StorageError;
use thiserror::Error;

use super::keys;
use crate::{expand::error::ExpandError, fetch::FetchError};

/// What to do about a dead letter, once what stopped the search is put right.
const GO_ON: &str = "then let the search go on with `maskline dead-letters replay ID` \
                     (`maskline dead-letters list` shows the ID)";

/// Why a page of results could not be had.
#[derive(Debug, Error)]
pub(super) enum SearchError {
    /// The quota is used up, or the provider asked for a pause.
    #[error("{why}")]
    NotYet { why: String, after: Duration },
    /// The provider needs a key, and the scraper has none.
    #[error("there is no key")]
    NoKey,
    /// The provider does not accept the key, or does not let us in.
    #[error("{0}")]
    Refused(String),
    /// The provider can't do what is asked for, now or later.
    #[error("{0}")]
    BadRequest(String),
    /// A field of the answer is not what it was when this code was written.
    #[error("field `{field}`: {problem}")]
    Changed { field: String, problem: String },
    /// The cursor of this step is none.
    #[error("{0}")]
    BadCursor(String),
    /// The provider may answer later.
    #[error("{error:#}")]
    Busy {
        error: anyhow::Error,
        after: Option<Duration>,
    },
    #[error(transparent)]
    Store(StorageError),
}

impl SearchError {
    /// The field `field` is missing in the answer.
    pub(super) fn missing(field: &str) -> Self {
        Self::Changed {
            field: field.to_owned(),
            problem: "it is missing".to_owned(),
        }
    }

    pub(super) fn busy(error: anyhow::Error) -> Self {
        Self::Busy { error, after: None }
    }

    /// The failure of the step, which names the provider and says what to do.
    pub(super) fn at(self, provider: SearchProvider) -> ExpandError {
        match self {
            Self::NotYet { why, after } => ExpandError::Postponed {
                error: anyhow::Error::msg(why).context(format!("searching at {provider}")),
                after,
            },
            Self::NoKey => ExpandError::Blocked(format!(
                "{provider} can't be searched without a key: set {} for the scraper, or the same \
                 name with _FILE at its end to a file that has it, start the scraper again, and \
                 {GO_ON}",
                keys::variables(provider).join(" and ")
            )),
            Self::Refused(said) => ExpandError::Blocked(format!(
                "{provider} refuses to search: {said}. {}, start the scraper again, and {GO_ON}",
                match keys::variables(provider) {
                    [] => "See what it asks for".to_owned(),
                    variables => format!("Check {}", variables.join(" and ")),
                }
            )),
            Self::BadRequest(said) => ExpandError::Source(format!(
                "{provider} can't do this search: {said}. Change the words or the flags of the \
                 search and enqueue it again"
            )),
            Self::Changed { field, problem } => ExpandError::Blocked(format!(
                "the answer of {provider} has changed, so that this version of maskline can't \
                 read it: field `{field}`: {problem}. Install a newer version, and {GO_ON}"
            )),
            Self::BadCursor(problem) => ExpandError::Source(format!(
                "the search at {provider} can't go on: {problem}. Enqueue it again"
            )),
            Self::Busy { error, after } => ExpandError::Retry {
                error: error.context(format!("searching at {provider}")),
                after,
            },
            Self::Store(error) => ExpandError::Store(error),
        }
    }
}

impl From<FetchError> for SearchError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Rejected(reason) => {
                Self::BadRequest(format!("it can't be asked: {reason}"))
            }
            FetchError::Retry { error, after } => Self::Busy { error, after },
            FetchError::Postponed { why, after } => Self::NotYet { why, after },
            FetchError::Store(error) => Self::Store(error),
        }
    }
}
