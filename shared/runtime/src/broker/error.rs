//! The errors of a broker, by kind.

use std::{error::Error, fmt, sync::Arc};

use maskline_foundation::error::with_causes;

/// An error of a broker. Callers decide by its kind, never by its text. Several callers may
/// get the same error, so its cause is shared.
///
/// `{}` shows what happened and what a person can do. `{:#}` shows the causes as well, as it
/// does for an `anyhow::Error`. Neither ever shows a password.
#[derive(Debug, Clone)]
pub enum BrokerError {
    /// The broker can't be reached, or did not confirm in time. Another try may succeed.
    Unavailable {
        problem: String,
        source: Option<Cause>,
    },
    /// The queue of this name has as many messages as it may hold. Another try may succeed.
    Full(String),
    /// No queue takes this routing key.
    Unroutable(String),
    /// The body or the headers are larger than a message's may be.
    TooLarge { bytes: usize, most: usize },
    /// The delivery is no longer this consumer's. It will be delivered again.
    Stale,
    /// The address, the credentials or the stored data are wrong. No other try helps.
    Misconfigured {
        problem: String,
        source: Option<Cause>,
    },
}

/// The error of a library that a [`BrokerError`] comes from.
pub type Cause = Arc<dyn Error + Send + Sync>;

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f.write_str(&with_causes(self));
        }
        match self {
            Self::Unavailable { problem, .. } => {
                write!(f, "the broker is not available: {problem}")
            }
            Self::Full(queue) => write!(f, "queue {queue} is full"),
            Self::Unroutable(key) => write!(f, "no queue takes the routing key {key}"),
            Self::TooLarge { bytes, most } => {
                write!(f, "the message has {bytes} bytes, {most} at most")
            }
            Self::Stale => f.write_str("the delivery was taken back: it will come again"),
            Self::Misconfigured { problem, .. } => f.write_str(problem),
        }
    }
}

impl Error for BrokerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable { source, .. } | Self::Misconfigured { source, .. } => {
                Some(source.as_deref()?)
            }
            _ => None,
        }
    }
}

impl BrokerError {
    /// The broker is [unavailable](Self::Unavailable) for a reason that no other error says.
    pub fn unavailable(problem: impl Into<String>) -> Self {
        Self::Unavailable {
            problem: problem.into(),
            source: None,
        }
    }

    /// Something is [misconfigured](Self::Misconfigured), and no other error says so.
    pub fn misconfigured(problem: impl Into<String>) -> Self {
        Self::Misconfigured {
            problem: problem.into(),
            source: None,
        }
    }

    /// The same error while the broker is in use. What is wrong with an address was found when
    /// it was opened, so a refusal that comes later is a broker or a disk that is not ready,
    /// and passes.
    #[must_use]
    pub(super) fn while_in_use(self) -> Self {
        match self {
            Self::Misconfigured { problem, source } => Self::Unavailable { problem, source },
            other => other,
        }
    }

    /// The text of the error with its causes, without a word on the kind.
    pub(super) fn problem(&self) -> String {
        match self {
            Self::Unavailable { problem, source } | Self::Misconfigured { problem, source } => {
                match source {
                    Some(source) => format!("{problem}: {}", with_causes(source)),
                    None => problem.clone(),
                }
            }
            other => other.to_string(),
        }
    }

    /// The same with its cause. Kinds that need none are left as they are.
    #[must_use]
    pub(super) fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        if let Self::Unavailable { source, .. } | Self::Misconfigured { source, .. } = &mut self {
            *source = Some(Arc::from(cause.into()));
        }
        self
    }
}
