//! The splits of a dataset.

use std::{fmt, str::FromStr};

use maskline_messages::InvalidId;
use serde::{Deserialize, Serialize};

/// A part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The images that a network learns from.
    Train,
    /// The images on which a network is measured after each epoch. It never learns from them, but
    /// the best trial of a study and the temperature are chosen by them.
    Validation,
    /// The images on which only a finished network is measured. No network learns from
    /// them, and nothing is chosen by them.
    Test,
}

impl Split {
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name that Hugging Face `datasets` gives the split.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The path of a shard relative to the manifest. `index` counts from 0, and
    /// `count` is the number of the split's shards. Hugging Face `datasets` finds the
    /// splits of a folder by such names.
    pub fn shard_file(self, index: usize, count: usize) -> String {
        format!("data/{}-{index:05}-of-{count:05}.parquet", self.name())
    }

    /// A pattern that the paths of all shards of the split match, and of no other split.
    pub(crate) fn shard_pattern(self) -> String {
        format!("data/{}-*.parquet", self.name())
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let split = Self::ALL.into_iter().find(|split| split.name() == text);
        split.ok_or_else(|| InvalidId {
            text: text.to_owned(),
            expected: "a split (train, validation or test)",
        })
    }
}
