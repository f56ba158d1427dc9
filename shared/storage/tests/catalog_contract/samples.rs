//! Records for the tests to write, and steps that many of them take.

use std::collections::BTreeMap;

use bytes::Bytes;
use maskline_messages::{
    CandidateId, CollectionName, DatasetId, Format, Hop, ImageId, JobId, LabelOrigin, Labeling,
    Measurements, NetworkName, Prediction, Provenance, Reason, RequestId, RunId, Source,
    SourceRole, TrainingChoices, TrainingSettings,
};
use maskline_storage::{
    Catalog,
    records::{
        CandidateOutcome, CandidateState, Claim, Collection, Dataset, ImageDocument, Job, JobState,
        Lease, NewCandidate, OutcomeKind, Run, RunState, Settled, SourceCount, SplitSettings,
        TrainingWish, Version, Work,
    },
};
pub use maskline_test_support::messages::label;
use maskline_test_support::{messages, records};
use uuid::Uuid;

pub fn named(name: &str) -> CollectionName {
    name.parse().expect("a collection's name")
}

/// The collection of the samples for which a test names no collection.
pub fn usual() -> CollectionName {
    CollectionName::default()
}

/// A job with other values than the usual ones in most of its fields.
pub fn job() -> Job {
    Job {
        source: Source::Folder {
            path: "/data/faces of people".into(),
        },
        labeling: Some(Labeling::Folder { classes: vec![] }),
        role: SourceRole::Test,
        train: vec![
            NetworkName::MobilenetV3Small.into(),
            NetworkName::Mnasnet1_0.into(),
        ],
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        created: 1_790_000_000_000,
        ..records::job()
    }
}

/// A job that expands, in the usual collection.
pub async fn recorded_job(catalog: &dyn Catalog) -> JobId {
    recorded_job_in(catalog, &usual()).await
}

/// A job that expands. Its collection is made if it is not there.
pub async fn recorded_job_in(catalog: &dyn Catalog, collection: &CollectionName) -> JobId {
    let job = Job {
        collection: collection.clone(),
        ..job()
    };
    records::create_job(catalog, &job).await;
    job.id
}

/// A job in which nothing was found, in the usual collection, which waits to be frozen.
pub async fn expanded_job(catalog: &dyn Catalog) -> JobId {
    expanded_job_in(catalog, &usual()).await
}

/// A job in which nothing was found. Its collection waits to be frozen.
pub async fn expanded_job_in(catalog: &dyn Catalog, collection: &CollectionName) -> JobId {
    let job = recorded_job_in(catalog, collection).await;
    catalog.finish_expansion(job).await.unwrap();
    let freezing = Work::Freeze(collection.clone());
    catalog.offer_work_again(&freezing).await.unwrap();
    job
}

/// A job that expands, in the usual collection, and the only candidate that it found until now,
/// which failed.
pub async fn job_with_failed_candidate(catalog: &dyn Catalog) -> (JobId, NewCandidate) {
    let job = recorded_job(catalog).await;
    let [candidate, ..] = candidates(job);
    add(catalog, &candidate).await;
    finish(catalog, candidate.id, failed()).await;
    (job, candidate)
}

pub async fn add(catalog: &dyn Catalog, candidate: &NewCandidate) {
    let added = catalog.add_candidates(std::slice::from_ref(candidate));
    added.await.unwrap();
}

/// The proof that nothing of the collection is in flight.
pub async fn settled(catalog: &dyn Catalog, collection: &CollectionName) -> Settled {
    let settled = catalog.settled(collection).await.unwrap();
    settled.expect("nothing is in flight")
}

/// Freezes the usual collection, which is settled now, and all jobs of it that wait for that.
pub async fn freeze(catalog: &dyn Catalog, content: &[u8]) -> Version {
    let settled = settled(catalog, &usual()).await;
    let version = add_version(catalog, content, &settled).await;
    for job in settled.jobs() {
        catalog.freeze(job, &version, &settled).await.unwrap();
    }
    version
}

/// Adds a version of the usual collection.
pub async fn add_version(catalog: &dyn Catalog, content: &[u8], settled: &Settled) -> Version {
    let dataset = next_dataset(catalog, content).await;
    let added = catalog.add_version(&dataset, settled).await.unwrap();
    added.expect("the collection was not opened")
}

/// The dataset of the version of the usual collection that has this content and comes next.
pub async fn next_dataset(catalog: &dyn Catalog, content: &[u8]) -> Dataset {
    let collection = catalog.collection(&usual()).await.unwrap();
    let collection = collection.expect("it is there");
    Dataset {
        created: 1_790_000_000_000 + u64::from(collection.next_number()),
        ..dataset_after(collection.latest(), content)
    }
}

/// Fails a job of the usual collection, which is settled now.
pub async fn fail(catalog: &dyn Catalog, job: JobId) {
    let settled = settled(catalog, &usual()).await;
    let failing = catalog.fail_settled(job, "nothing is left", &settled);
    failing.await.unwrap();
}

/// Takes the lease, whoever holds it.
pub async fn acquire(catalog: &dyn Catalog, work: &Work, owner: &str) -> Lease {
    let seen = lease_on(catalog, work).await;
    let taken = catalog.acquire_lease(&seen, owner).await.unwrap();
    taken.expect("it is as it was seen")
}

pub async fn found_collection(catalog: &dyn Catalog, name: &CollectionName) -> Collection {
    let found = catalog.collection(name).await.unwrap();
    found.expect("it is there")
}

pub async fn found_job(catalog: &dyn Catalog, job: JobId) -> Job {
    catalog.job(job).await.unwrap().expect("it is there")
}

pub async fn state(catalog: &dyn Catalog, job: JobId) -> JobState {
    found_job(catalog, job).await.state
}

pub async fn candidate_state(catalog: &dyn Catalog, candidate: CandidateId) -> CandidateState {
    let found = catalog.candidate(candidate).await.unwrap();
    found.expect("it is there").state
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

/// The candidate as a job of another collection has it.
pub fn moved_to(collection: &CollectionName, candidate: NewCandidate) -> NewCandidate {
    NewCandidate {
        collection: collection.clone(),
        ..candidate
    }
}

pub fn labelled(candidate: NewCandidate, name: &str) -> NewCandidate {
    NewCandidate {
        label: Some(label(name)),
        ..candidate
    }
}

pub fn image(candidate: &NewCandidate, bytes: &[u8], name: &str) -> ImageDocument {
    ImageDocument {
        collection: candidate.collection.clone(),
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
            bytes: Some(48_211),
            phash: 0xfedc_ba98_7654_3210,
            phash_mirrored: 0x8000_0000_0000_0001,
            brightness: 0.512_345_6,
            contrast: 0.21,
            sharpness: 180.75,
            faces: Some(vec![messages::face()]),
            fingerprint: Some(messages::fingerprint()),
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

/// A stored image with its claim.
pub async fn claimed(catalog: &dyn Catalog, found: &NewCandidate, bytes: &[u8]) -> ImageId {
    let id = ImageId::of(bytes);
    add(catalog, found).await;
    let claim = catalog.claim_image(&found.collection, &id, found.id).await;
    assert_eq!(claim, Ok(Claim::Held(found.id)));
    store(catalog, found, bytes, "with_mask").await.image
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

/// A candidate was rejected because the other one has the same bytes.
pub fn copy_of(found: &NewCandidate) -> OutcomeKind {
    rejected(Reason::ExactDuplicate { of: found.id })
}

pub fn failed() -> OutcomeKind {
    OutcomeKind::Failed {
        stage: "validator".to_owned(),
        error: "the disk is full".to_owned(),
    }
}

/// The freezing of a collection that no other test has.
pub fn freezing() -> Work {
    Work::Freeze(named(&Uuid::new_v4().simple().to_string()))
}

pub async fn lease_on(catalog: &dyn Catalog, work: &Work) -> Lease {
    let open = catalog.open_work(work.kind()).await.unwrap();
    let lease = open.into_iter().find(|lease| lease.work == *work);
    lease.expect("the work is open")
}

/// A dataset of the usual collection, whose newest version is `latest`.
pub fn dataset_after(latest: Option<&Version>, content: &[u8]) -> Dataset {
    let per_class = |with, without| {
        BTreeMap::from([(label("with_mask"), with), (label("without_mask"), without)])
    };
    let parent = latest.map(|latest| latest.dataset);
    let content = DatasetId::of(content);
    Dataset {
        id: DatasetId::of(format!("{content} {parent:?}").as_bytes()),
        content,
        collection: usual(),
        parent,
        sources: vec![SourceCount {
            job: JobId(Uuid::from_u128(7)),
            role: SourceRole::Test,
            images: 200,
        }],
        classes: vec![label("with_mask"), label("without_mask")],
        images: BTreeMap::from([
            ("train".to_owned(), per_class(80, 79)),
            ("validation".to_owned(), per_class(20, 21)),
        ]),
        near_duplicate_groups: 3,
        set_aside: 2,
        withheld: 1,
        several_faces: 4,
        split: SplitSettings::default(),
        created: 1_790_000_000_000,
    }
}

/// Runs on different datasets, created in the order of their numbers.
pub fn run(number: u64) -> Run {
    let dataset = DatasetId::of(&number.to_be_bytes());
    let settings = TrainingSettings::default();
    let network = NetworkName::MobilenetV3Small.into();
    Run {
        id: RunId::of(&dataset, network, &settings),
        dataset,
        job: (number == 1).then(JobId::draw),
        network,
        settings,
        state: RunState::Open,
        error: None,
        epoch: 0,
        accuracy: None,
        loss: None,
        evaluation: None,
        device: None,
        traceparent: None,
        created: number,
    }
}

/// A new request for training.
pub fn wish() -> TrainingWish {
    TrainingWish {
        id: RequestId::draw(),
        networks: vec![
            NetworkName::MobilenetV3Small.into(),
            NetworkName::Mnasnet1_0.into(),
        ],
        settings: TrainingChoices {
            epochs: Some(3),
            ..TrainingChoices::default()
        },
    }
}
