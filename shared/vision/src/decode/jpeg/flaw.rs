//! The flaws that a JPEG can have.

use std::borrow::Cow;

use maskline_messages::Reason;

/// A flaw of a file, in words for its rejection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The bytes end before the picture does.
    Truncated(Cow<'static, str>),
    /// The data makes no sense, or does not fit the header.
    Damaged(Cow<'static, str>),
    /// The decoder does not know this kind of JPEG, or it is read nowhere.
    Unsupported(Cow<'static, str>),
}

impl Flaw {
    pub const fn truncated(detail: &'static str) -> Self {
        Self::Truncated(Cow::Borrowed(detail))
    }

    pub const fn damaged(detail: &'static str) -> Self {
        Self::Damaged(Cow::Borrowed(detail))
    }

    pub const fn unsupported(format: &'static str) -> Self {
        Self::Unsupported(Cow::Borrowed(format))
    }
}

impl From<Flaw> for Reason {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Truncated(detail) => Self::Truncated {
                detail: detail.into_owned(),
            },
            Flaw::Damaged(detail) => Self::Undecodable {
                detail: format!("damaged JPEG: {detail}"),
            },
            Flaw::Unsupported(format) => Self::Unsupported {
                format: format.into_owned(),
            },
        }
    }
}
