//! Sample records of a catalog.

use std::collections::BTreeMap;

use maskline_messages::{
    CandidateId, CollectionName, DatasetId, JobId, Location, Provenance, Source, SplitSettings,
};
use maskline_storage::{
    Catalog,
    records::{CandidateOutcome, Collection, Dataset, Job, NewCandidate, OutcomeKind},
};

/// A collection that was just made: the one that is used if none is named. It has no classes,
/// so its sources may give any label.
pub fn collection() -> Collection {
    Collection {
        created: 1,
        ..Collection::new(CollectionName::default(), vec![], SplitSettings::default())
    }
}

/// Records a job, and before that its collection.
pub async fn create_job(catalog: &dyn Catalog, job: &Job) {
    let collection = Collection {
        name: job.collection.clone(),
        ..collection()
    };
    let created = catalog.create_collection(&collection).await;
    created.expect("the catalog answers");
    catalog.create_job(job).await.expect("the catalog answers");
}

/// A job that was just enqueued: a new id, a folder as its source, the usual collection and
/// nothing to train. A test changes the fields that matter to it.
pub fn job() -> Job {
    let source = Source::Folder {
        path: "/data/faces".into(),
    };
    Job {
        created: 1,
        ..Job::new(CollectionName::default(), source, None)
    }
}

/// A dataset of a collection with this id and this content, and without any image.
pub fn dataset(collection: &CollectionName, id: DatasetId) -> Dataset {
    Dataset {
        id,
        content: id,
        collection: collection.clone(),
        parent: None,
        sources: vec![],
        classes: vec![],
        images: BTreeMap::new(),
        near_duplicate_groups: 0,
        set_aside: 0,
        withheld: 0,
        several_faces: 0,
        split: SplitSettings::default(),
        created: 1,
    }
}

/// The candidate of a job at a location. Its source tells nothing else about it.
pub fn candidate(job: JobId, location: Location) -> NewCandidate {
    NewCandidate {
        id: CandidateId::of(job, &location),
        collection: CollectionName::default(),
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
        fetched: None,
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
