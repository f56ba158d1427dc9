//! Sample records of a catalog.

use maskline_messages::{JobId, Source, TrainingSettings};
use maskline_storage::records::{Job, JobState, SplitSettings};

/// A job that was just enqueued: a new id, a folder as its source, no classes and
/// nothing to train. A test changes the fields that matter to it.
pub fn job() -> Job {
    Job {
        id: JobId::draw(),
        source: Source::Folder {
            path: "/data/faces".into(),
        },
        labeling: None,
        classes: vec![],
        train: vec![],
        settings: TrainingSettings::default(),
        split: SplitSettings::default(),
        state: JobState::Expanding,
        error: None,
        dataset: None,
        replayed: None,
        traceparent: None,
        created: 1,
    }
}
