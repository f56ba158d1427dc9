//! The splits of a dataset.

/// A side of the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Split {
    Train,
    Validation,
}

impl Split {
    pub(crate) const ALL: [Self; 2] = [Self::Train, Self::Validation];

    /// The name that the library Hugging Face `datasets` gives it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }
}
