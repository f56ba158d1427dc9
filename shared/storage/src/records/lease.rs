//! Work that one process at a time may do, and who does it.

use std::fmt;

use maskline_messages::{CollectionName, InvalidId, RunId};
use serde::{Deserialize, Serialize};

use super::study::TrialRung;

/// Work that one process at a time may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Work {
    Freeze(CollectionName),
    Train(RunId),
    Trial(TrialRung),
}

impl Work {
    /// The work of this [`Work::kind`] and [`Work::id`].
    pub fn named(kind: &str, id: &str) -> Result<Self, InvalidId> {
        match kind {
            "freeze" => Ok(Self::Freeze(id.parse()?)),
            "train" => Ok(Self::Train(id.parse()?)),
            "trial" => Ok(Self::Trial(id.parse()?)),
            _ => Err(InvalidId {
                text: kind.to_owned(),
                expected: "a kind of work (freeze, train, trial)",
            }),
        }
    }

    /// The kind of work: `freeze`, `train` or `trial`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Freeze(_) => "freeze",
            Self::Train(_) => "train",
            Self::Trial(_) => "trial",
        }
    }

    /// The id of what is worked on, as text.
    pub fn id(&self) -> String {
        match self {
            Self::Freeze(collection) => collection.to_string(),
            Self::Train(run) => run.to_string(),
            Self::Trial(rung) => rung.to_string(),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.id())
    }
}

/// The lease on a piece of work. Its holder counts `beat` up while it lives. A process that sees
/// the same `beat` for longer than the lease lasts, on its own monotonic clock, may take
/// the lease over. No two clocks are ever compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub work: Work,
    /// `None` if nobody holds the work.
    pub owner: Option<String>,
    pub beat: u64,
    /// How often in a row holders died or failed, without progress in between.
    pub failures: u32,
}

impl Lease {
    pub(crate) fn taken_by(&self, owner: &str) -> Self {
        // A process that takes its own lease back was only cut off from the catalog.
        let died = self.owner.as_deref().is_some_and(|holder| holder != owner);
        Self {
            owner: Some(owner.to_owned()),
            failures: self.failures.saturating_add(died.into()),
            ..self.renewed()
        }
    }

    pub(crate) fn renewed(&self) -> Self {
        Self {
            beat: self.beat + 1,
            ..self.clone()
        }
    }

    pub(crate) fn released(&self) -> Self {
        Self {
            owner: None,
            ..self.renewed()
        }
    }
}
