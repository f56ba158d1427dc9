//! What the weights of a network begin from.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ids::WeightsId, invalid::InvalidId};

/// What the weights of a network begin from. In JSON it is one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Start {
    /// `scratch`: random weights.
    #[default]
    Scratch,
    /// `pretrained`: the weights that maskline comes with. Only EfficientNet-Lite0 has some.
    Pretrained,
    /// The id of weights that somebody stored.
    Stored(WeightsId),
}

const SCRATCH: &str = "scratch";
const PRETRAINED: &str = "pretrained";

impl FromStr for Start {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            SCRATCH => Ok(Self::Scratch),
            PRETRAINED => Ok(Self::Pretrained),
            id => Ok(Self::Stored(id.parse()?)),
        }
    }
}

impl TryFrom<String> for Start {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Start> for String {
    fn from(start: Start) -> Self {
        start.to_string()
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch => f.write_str(SCRATCH),
            Self::Pretrained => f.write_str(PRETRAINED),
            Self::Stored(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read_as_they_are_written_and_others_are_refused() {
        let stored = Start::Stored(WeightsId::of(b"weights"));
        for start in [Start::Scratch, Start::Pretrained, stored] {
            assert_eq!(start.to_string().parse(), Ok(start));
            let json = serde_json::to_string(&start).unwrap();
            assert_eq!(serde_json::from_str::<Start>(&json).unwrap(), start);
        }
        assert!("imagenet".parse::<Start>().is_err());
    }
}
