//! Sample records of a catalog.

use maskline_messages::{CandidateId, JobId, Location, Provenance, Source, TrainingSettings};
use maskline_storage::records::{
    CandidateOutcome, Job, JobState, NewCandidate, OutcomeKind, SplitSettings,
};

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

/// The candidate of a job at a location. Its source tells nothing else about it.
pub fn candidate(job: JobId, location: Location) -> NewCandidate {
    NewCandidate {
        id: CandidateId::of(job, &location),
        job,
        location,
        label: None,
        provenance: Provenance::default(),
    }
}

/// What became of a candidate, without its image, history and trace.
pub fn outcome(candidate: CandidateId, kind: OutcomeKind) -> CandidateOutcome {
    CandidateOutcome {
        candidate,
        image: None,
        history: vec![],
        trace_id: None,
        kind,
    }
}

/// A candidate fails because the message about it was dead-lettered.
pub fn dead_lettered() -> OutcomeKind {
    OutcomeKind::Failed {
        stage: "validator".to_owned(),
        error: "boom".to_owned(),
    }
}
