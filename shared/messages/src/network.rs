//! The networks that can be trained.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::invalid::InvalidId;

/// The networks, by torchvision's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkName {
    MobilenetV2,
    MobilenetV3Small,
    #[serde(rename = "mnasnet1_0")]
    Mnasnet1_0,
    EfficientnetB0,
}

impl NetworkName {
    pub const ALL: [Self; 4] = [
        Self::MobilenetV2,
        Self::MobilenetV3Small,
        Self::Mnasnet1_0,
        Self::EfficientnetB0,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::MobilenetV2 => "mobilenet_v2",
            Self::MobilenetV3Small => "mobilenet_v3_small",
            Self::Mnasnet1_0 => "mnasnet1_0",
            Self::EfficientnetB0 => "efficientnet_b0",
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NetworkName {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let found = Self::ALL
            .into_iter()
            .find(|network| network.as_str() == text);
        found.ok_or_else(|| InvalidId {
            text: text.chars().take(80).collect(),
            expected: "a network (mobilenet_v2, mobilenet_v3_small, mnasnet1_0, efficientnet_b0)",
        })
    }
}
