//! The flaws that a JPEG can have.

use maskline_messages::Reason;

/// A flaw of a file, in words for its rejection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The bytes end before the picture does.
    Truncated(&'static str),
    /// The codes make no sense, or do not fit the header.
    Damaged(&'static str),
    /// The decoder does not know this kind of JPEG.
    Unsupported(&'static str),
}

impl From<Flaw> for Reason {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Truncated(detail) => Self::Truncated {
                detail: detail.to_owned(),
            },
            Flaw::Damaged(detail) => Self::Undecodable {
                detail: format!("damaged JPEG: {detail}"),
            },
            Flaw::Unsupported(format) => Self::Unsupported {
                format: format.to_owned(),
            },
        }
    }
}
