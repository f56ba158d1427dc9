//! The flaws that a JPEG can have.

use maskline_messages::Reason;

/// A flaw of a file, in words for its rejection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The bytes end before the picture does.
    Truncated(String),
    /// The data makes no sense, or does not fit the header.
    Damaged(String),
    /// The decoder does not know this kind of JPEG, or it is read nowhere.
    Unsupported(String),
}

impl Flaw {
    pub fn truncated(detail: &str) -> Self {
        Self::Truncated(detail.to_owned())
    }

    pub fn damaged(detail: &str) -> Self {
        Self::Damaged(detail.to_owned())
    }

    pub fn unsupported(format: &str) -> Self {
        Self::Unsupported(format.to_owned())
    }
}

impl From<Flaw> for Reason {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Truncated(detail) => Self::Truncated { detail },
            Flaw::Damaged(detail) => Self::Undecodable {
                detail: format!("damaged JPEG: {detail}"),
            },
            Flaw::Unsupported(format) => Self::Unsupported { format },
        }
    }
}
