//! The messages about a job: a source that is expanded into candidates.

use serde::{Deserialize, Serialize};

use crate::{
    ids::JobId,
    source::{Labeling, Source},
};

/// The command asks the scraper to expand a source from `cursor` on. A large source is
/// expanded in steps, and each step sends the request for the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRequested {
    pub job: JobId,
    pub source: Source,
    /// `None` means that the source's candidates carry no label.
    pub labeling: Option<Labeling>,
    /// The position in the source where this step begins. Only the code for this kind of
    /// source understands it. `None` means the beginning.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Candidates found before `cursor`.
    #[serde(default)]
    pub found: u64,
}

/// The scraper reports to the storer that every candidate of the source is in the catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceExpanded {
    pub job: JobId,
    /// Candidates found in the whole source.
    pub found: u64,
}

/// A source can't be expanded. The scraper or the runner reports this to the storer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFailed {
    pub job: JobId,
    /// The service that gave up.
    pub stage: String,
    pub error: String,
}
