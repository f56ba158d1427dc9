//! Sample messages, and what they carry.

use maskline_messages::{
    Bounds, CandidateFound, CandidateId, CollectionName, DatasetId, DatasetReady, Detail, Face,
    Fetched, Fingerprint, Format, Hop, ImageFailed, ImageFetched, ImageHeader, ImageId,
    ImageLabeled, ImageRejected, ImageValidated, JobFailed, JobId, Label, LabelOrigin, Labeling,
    Location, Measurements, Message, Method, ModelTrained, NetworkName, ObjectKey, Point,
    Prediction, Reason, RunId, Source, SourceExpanded, SourceRequested, Thumbnail, TrainingChoices,
    TrainingRequested, TrainingSettings, TuningRequested, TuningSearch,
};
use uuid::Uuid;

/// The job of the samples for which a test names no job.
pub const JOB: JobId = JobId(Uuid::from_u128(0x018f_3e5a_0000_7000_8000_0000_0000_0001));

/// The content of the samples for which a test names no content.
pub const BYTES: &[u8] = b"bytes";

pub fn label(name: &str) -> Label {
    name.parse().expect("a label")
}

pub fn url(text: &str) -> Location {
    Location::Url(text.parse().expect("a URL"))
}

/// The location of the samples for which a test names no location.
pub fn location() -> Location {
    url("http://site/1.jpg")
}

/// The candidate of a job at a location. It has no label.
pub fn found(job: JobId, location: Location) -> CandidateFound {
    CandidateFound {
        collection: CollectionName::default(),
        job,
        candidate: CandidateId::of(job, &location),
        location,
        label: None,
        known: None,
    }
}

/// The content `bytes` of a candidate, fetched. Its label is `with_mask`.
pub fn fetched(job: JobId, location: Location, bytes: &[u8]) -> ImageFetched {
    let image = ImageId::of(bytes);
    ImageFetched {
        header: ImageHeader {
            collection: CollectionName::default(),
            job,
            candidate: CandidateId::of(job, &location),
            image,
            fetched: Some(Fetched {
                at: 1,
                etag: Some("\"5\"".to_owned()),
                last_modified: None,
            }),
            history: vec![Hop {
                stage: "scraper".to_owned(),
                at: 1,
            }],
        },
        location,
        label: Some(label("with_mask")),
        object: ObjectKey::raw(&image),
        bytes: bytes.len() as u64,
    }
}

/// A fingerprint of one detail. Two images that have it need not be of one photograph, because one
/// detail is not enough to tell that.
pub fn fingerprint() -> Fingerprint {
    let detail = Detail {
        hash: 0x1234_5678_9abc_def0,
        x: 64,
        y: 32,
        scale: 96,
        mirrored: true,
    };
    Fingerprint {
        details: vec![detail],
        thumbnail: Thumbnail::new([[0, 2, 4, 6, 9, 11, 13, 15]; 8]),
    }
}

/// A face in the right half of a picture.
pub fn face() -> Face {
    let bounds = Bounds {
        left: 0.5,
        top: 0.25,
        width: 0.375,
        height: 0.5,
    };
    let points = [
        (0.625, 0.375),
        (0.75, 0.375),
        (0.6875, 0.5),
        (0.6875, 0.625),
        (0.5, 0.4375),
        (0.875, 0.4375),
    ];
    Face {
        bounds,
        score: 0.875,
        key_points: points.map(|(x, y)| Point { x, y }).into(),
    }
}

/// The same image, accepted by the validator.
pub fn validated(job: JobId, location: Location, bytes: &[u8]) -> ImageValidated {
    let fetched = fetched(job, location, bytes);
    ImageValidated {
        normalized: ObjectKey::normalized(&fetched.header.image),
        header: fetched.header,
        location: fetched.location,
        label: fetched.label,
        width: 128,
        height: 96,
        measurements: Measurements {
            format: Format::Webp,
            width: 640,
            height: 480,
            bytes: Some(48_211),
            phash: 0xf00d_0000_0000_0001,
            phash_mirrored: 1,
            brightness: 0.5,
            contrast: 0.25,
            sharpness: 120.0,
            faces: Some(vec![face()]),
            fingerprint: Some(fingerprint()),
        },
    }
}

/// The same image with the label of its source. A model predicts another one.
pub fn labeled(job: JobId, location: Location, bytes: &[u8]) -> ImageLabeled {
    let validated = validated(job, location, bytes);
    ImageLabeled {
        header: validated.header,
        location: validated.location,
        normalized: validated.normalized,
        width: validated.width,
        height: validated.height,
        measurements: validated.measurements,
        label: label("with_mask"),
        label_origin: LabelOrigin::Source,
        prediction: Some(Prediction {
            model: run(),
            label: label("without_mask"),
            confidence: 0.75,
            agrees: false,
        }),
    }
}

fn dataset() -> DatasetId {
    DatasetId::of(b"dataset")
}

/// A run with default settings on the sample dataset.
fn run() -> RunId {
    let settings = TrainingSettings::default();
    RunId::of(&dataset(), NetworkName::MobilenetV2, &settings)
}

/// One message of each type, in the order of the enum.
pub fn one_of_each() -> Vec<Message> {
    let found = found(JOB, location());
    let candidate = found.candidate;
    let (stage, error) = ("validator".to_owned(), "it broke".to_owned());
    let networks = Method::ALL.to_vec();
    let settings = TrainingChoices::default();
    vec![
        SourceRequested {
            job: JOB,
            source: Source::Urls {
                list: url("http://site/list.csv"),
                url_column: None,
            },
            labeling: Some(Labeling::column()),
            cursor: Some("17:2".to_owned()),
            found: 1,
        }
        .into(),
        found.into(),
        SourceExpanded { job: JOB, found: 2 }.into(),
        fetched(JOB, location(), BYTES).into(),
        ImageRejected {
            job: JOB,
            candidate,
            image: None,
            fetched: None,
            stage: stage.clone(),
            reason: Reason::TooSmall {
                width: 10,
                height: 20,
                least: 32,
            },
            history: vec![],
        }
        .into(),
        ImageFailed {
            job: JOB,
            candidate,
            stage: stage.clone(),
            error: error.clone(),
            attempts: 10,
        }
        .into(),
        validated(JOB, location(), BYTES).into(),
        labeled(JOB, location(), BYTES).into(),
        JobFailed {
            job: JOB,
            stage,
            error,
        }
        .into(),
        DatasetReady {
            job: Some(JOB),
            dataset: dataset(),
            networks: networks.clone(),
            settings: settings.clone(),
        }
        .into(),
        TrainingRequested {
            dataset: dataset(),
            networks,
            settings,
        }
        .into(),
        ModelTrained {
            dataset: dataset(),
            run: run(),
            network: NetworkName::MobilenetV2.into(),
            accuracy: 0.97,
            loss: 0.1,
        }
        .into(),
        TuningRequested {
            dataset: dataset(),
            network: NetworkName::MobilenetV2,
            trials: 16,
            search: TuningSearch::Asha,
            settings: TrainingChoices::default(),
        }
        .into(),
    ]
}
