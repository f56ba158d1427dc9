//! Records for the tests to write, and steps that many of them take.

use std::collections::BTreeMap;

use bytes::Bytes;
use maskline_messages::{
    CandidateId, DatasetId, Format, Hop, ImageId, JobId, LabelOrigin, Labeling, Measurements,
    NetworkName, Prediction, Provenance, Reason, RunId, Source, TrainingSettings,
};
use maskline_storage::{
    Catalog,
    records::{
        CandidateOutcome, Dataset, ImageDocument, Job, JobState, Lease, NewCandidate, OutcomeKind,
        Run, RunState, SplitSettings, Work,
    },
};
pub use maskline_test_support::messages::label;
use maskline_test_support::{messages, records};

/// A job with other values than the usual ones in most of its fields.
pub fn job() -> Job {
    Job {
        source: Source::Folder {
            path: "/data/faces of people".into(),
        },
        labeling: Some(Labeling::Folder),
        classes: vec![label("with_mask"), label("without_mask")],
        train: vec![NetworkName::MobilenetV3Small, NetworkName::Mnasnet1_0],
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        created: 1_790_000_000_000,
        ..records::job()
    }
}

pub async fn recorded_job(catalog: &dyn Catalog) -> JobId {
    let job = job();
    catalog.create_job(&job).await.unwrap();
    job.id
}

/// A job in which nothing was found.
pub async fn expanded_job(catalog: &dyn Catalog) -> JobId {
    let job = recorded_job(catalog).await;
    catalog.finish_expansion(job).await.unwrap();
    catalog.offer_work(&Work::Freeze(job)).await.unwrap();
    job
}

/// Freezes a job that is settled now.
pub async fn freeze(catalog: &dyn Catalog, job: JobId, dataset: &Dataset) {
    let settled = catalog.settled(job).await.unwrap();
    let settled = settled.expect("nothing is in flight");
    catalog.freeze(job, dataset, settled).await.unwrap();
}

/// Fails a job that is settled now.
pub async fn fail(catalog: &dyn Catalog, job: JobId) {
    let settled = catalog.settled(job).await.unwrap();
    let settled = settled.expect("nothing is in flight");
    let failing = catalog.fail_settled(job, "nothing is left", settled);
    failing.await.unwrap();
}

/// Takes the lease, whoever holds it.
pub async fn acquire(catalog: &dyn Catalog, work: &Work, owner: &str) -> Lease {
    let seen = lease_on(catalog, work).await;
    let taken = catalog.acquire_lease(&seen, owner).await.unwrap();
    taken.expect("it is as it was seen")
}

pub async fn state(catalog: &dyn Catalog, job: JobId) -> JobState {
    catalog.job(job).await.unwrap().expect("it is there").state
}

pub fn candidate(job: JobId, number: usize) -> NewCandidate {
    let url = format!("https://example.org/faces/{number}.jpg?a=b%20c");
    NewCandidate {
        label: Some(label("with_mask")),
        provenance: Provenance {
            landing_page: Some("https://example.org/faces".parse().unwrap()),
            creator: Some("A. Painter".to_owned()),
            license: Some("by-sa 4.0".to_owned()),
            other: [("width".to_owned(), "640".to_owned())].into(),
            ..Provenance::default()
        },
        ..records::candidate(job, messages::url(&url))
    }
}

pub fn candidates(job: JobId) -> [NewCandidate; 3] {
    [0, 1, 2].map(|number| candidate(job, number))
}

pub fn labelled(candidate: NewCandidate, name: &str) -> NewCandidate {
    NewCandidate {
        label: Some(label(name)),
        ..candidate
    }
}

pub fn image(candidate: &NewCandidate, bytes: &[u8], name: &str) -> ImageDocument {
    ImageDocument {
        job: candidate.job,
        image: ImageId::of(bytes),
        candidate: candidate.id,
        source: candidate.location.clone(),
        binary: Bytes::copy_from_slice(&[&[0xff, 0xd8, 0, 0xff], bytes].concat()),
        width: 160,
        height: 120,
        label: label(name),
        label_origin: LabelOrigin::Source,
        prediction: Some(Prediction {
            model: run(1).id,
            label: label(name),
            confidence: 0.987_654_3,
            agrees: true,
        }),
        measurements: Measurements {
            format: Format::Png,
            width: 640,
            height: 480,
            phash: 0xfedc_ba98_7654_3210,
            phash_mirrored: 0x8000_0000_0000_0001,
            brightness: 0.512_345_6,
            contrast: 0.21,
            sharpness: 180.75,
        },
    }
}

pub async fn store(
    catalog: &dyn Catalog,
    candidate: &NewCandidate,
    bytes: &[u8],
    label: &str,
) -> ImageDocument {
    let image = image(candidate, bytes, label);
    catalog.put_image(&image).await.unwrap();
    let outcome = CandidateOutcome {
        image: Some(image.image),
        ..outcome_of(candidate.id, OutcomeKind::Stored)
    };
    catalog.finish_candidate(&outcome).await.unwrap();
    image
}

pub async fn finish(catalog: &dyn Catalog, candidate: CandidateId, kind: OutcomeKind) {
    catalog
        .finish_candidate(&outcome_of(candidate, kind))
        .await
        .unwrap();
}

pub fn outcome_of(candidate: CandidateId, kind: OutcomeKind) -> CandidateOutcome {
    CandidateOutcome {
        history: vec![Hop::now("storer")],
        ..records::outcome(candidate, kind)
    }
}

pub fn rejected(reason: Reason) -> OutcomeKind {
    OutcomeKind::Rejected {
        stage: "validator".to_owned(),
        reason,
    }
}

pub fn failed() -> OutcomeKind {
    OutcomeKind::Failed {
        stage: "validator".to_owned(),
        error: "the disk is full".to_owned(),
    }
}

pub fn freezing() -> Work {
    Work::Freeze(JobId::draw())
}

pub async fn lease_on(catalog: &dyn Catalog, work: &Work) -> Lease {
    let open = catalog.open_work(work.kind()).await.unwrap();
    let lease = open.into_iter().find(|lease| lease.work == *work);
    lease.expect("the work is open")
}

pub fn dataset(job: JobId, content: &[u8]) -> Dataset {
    let per_class = |with, without| {
        BTreeMap::from([(label("with_mask"), with), (label("without_mask"), without)])
    };
    Dataset {
        id: DatasetId::of(content),
        job,
        classes: vec![label("with_mask"), label("without_mask")],
        images: BTreeMap::from([
            ("train".to_owned(), per_class(80, 79)),
            ("validation".to_owned(), per_class(20, 21)),
        ]),
        near_duplicate_groups: 3,
        set_aside: 2,
        split: SplitSettings::default(),
        created: 1_790_000_000_000,
    }
}

/// Runs on different datasets, created in the order of their numbers.
pub fn run(number: u64) -> Run {
    let dataset = DatasetId::of(&number.to_be_bytes());
    let settings = TrainingSettings::default();
    let network = NetworkName::MobilenetV3Small;
    Run {
        id: RunId::of(&dataset, network, &settings.canonical()),
        dataset,
        job: (number == 1).then(JobId::draw),
        network,
        settings,
        state: RunState::Open,
        error: None,
        epoch: 0,
        accuracy: None,
        loss: None,
        device: None,
        traceparent: None,
        created: number,
    }
}
