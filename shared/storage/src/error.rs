//! The errors of a store, by kind. Callers decide by the kind, never by the text.

use std::{error::Error, fmt, sync::Arc};

use maskline_foundation::error::with_causes;
use thiserror::Error;

/// The kind of a store's error, which says what the caller can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageErrorKind {
    /// There is no such object or record.
    NotFound,
    /// The store is not reachable, timed out, is overloaded, or its disk is full. Another
    /// try may succeed.
    Unavailable,
    /// The address, the credentials or the stored data are wrong. No retry helps.
    Misconfigured,
    /// Anything else: a bug, or damaged data.
    Internal,
}

impl StorageErrorKind {
    /// The kind's stable name, for spans and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
            Self::Internal => "internal",
        }
    }
}

/// An error of a store: its kind, what a person should know and can do, and its source.
///
/// `{}` shows the message alone, and `{:#}` the chain of its sources, too, as it does for an
/// `anyhow::Error`. Neither ever contains a password.
#[derive(Debug, Clone, Error)]
pub struct StorageError {
    kind: StorageErrorKind,
    message: String,
    #[source]
    source: Option<Source>,
}

type Source = Arc<dyn Error + Send + Sync>;

impl StorageError {
    fn new(kind: StorageErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// `what` does not exist.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(StorageErrorKind::NotFound, format!("{what} does not exist"))
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StorageErrorKind::Unavailable, message)
    }

    pub fn misconfigured(message: impl Into<String>) -> Self {
        Self::new(StorageErrorKind::Misconfigured, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StorageErrorKind::Internal, message)
    }

    /// Adds the error that this one comes from.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into().into()),
            ..self
        }
    }

    /// Puts another message before this error's, whose kind and source stay.
    pub(crate) fn context(self, message: impl Into<String>) -> Self {
        Self {
            kind: self.kind,
            message: message.into(),
            source: Some(Arc::new(self)),
        }
    }

    pub fn kind(&self) -> StorageErrorKind {
        self.kind
    }

    pub fn is_not_found(&self) -> bool {
        self.kind == StorageErrorKind::NotFound
    }

    /// True if the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.kind == StorageErrorKind::Unavailable
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => f.write_str(&with_causes(self)),
            false => f.write_str(&self.message),
        }
    }
}

/// Errors are equal if their kinds and messages are, whatever they come from.
impl PartialEq for StorageError {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.message) == (other.kind, &other.message)
    }
}

impl Eq for StorageError {}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_chain_of_sources_is_shown_where_it_is_asked_for() {
        let error =
            StorageError::unavailable("the disk is full").caused_by(io::Error::other("why"));
        assert_eq!(error.to_string(), "the disk is full");
        assert_eq!(format!("{error:#}"), "the disk is full: why");
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("why")
        );
        let wrapped = error.context("the catalog can't be opened");
        assert!(wrapped.is_transient());
        assert_eq!(
            format!("{:#}", anyhow::Error::from(wrapped)),
            "the catalog can't be opened: the disk is full: why"
        );
    }
}
