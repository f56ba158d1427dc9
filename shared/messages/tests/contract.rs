//! The contract as other programs see it: names, keys and JSON.

use std::collections::BTreeSet;

use maskline_messages::{topology::headers, *};
use maskline_test_support::messages::{self, BYTES, JOB, location, one_of_each, url};
use proptest::prelude::*;

fn candidate() -> CandidateId {
    found().candidate
}

fn header() -> ImageHeader {
    fetched().header
}

fn found() -> CandidateFound {
    messages::found(JOB, location())
}

fn fetched() -> ImageFetched {
    messages::fetched(JOB, location(), BYTES)
}

fn validated() -> ImageValidated {
    messages::validated(JOB, location(), BYTES)
}

fn labeled() -> ImageLabeled {
    messages::labeled(JOB, location(), BYTES)
}

#[test]
fn every_message_comes_back_from_json_as_it_was() {
    for message in one_of_each() {
        let json = message.to_json();
        assert_eq!(Message::from_json(&json).unwrap(), message);
    }
}

#[test]
fn the_json_of_a_message_is_stable() {
    let json: serde_json::Value = serde_json::from_slice(&one_of_each()[4].to_json()).unwrap();
    let expected = serde_json::json!({
        "schema": 3,
        "type": "image_rejected",
        "job": "018f3e5a-0000-7000-8000-000000000001",
        "candidate": candidate().to_string(),
        "image": null,
        "stage": "validator",
        "reason": { "code": "too_small", "width": 10, "height": 20, "least": 32 },
        "history": [],
    });
    assert_eq!(json, expected);

    let json: serde_json::Value = serde_json::from_slice(&one_of_each()[7].to_json()).unwrap();
    let image = ImageId::of(b"bytes");
    let expected = serde_json::json!({
        "schema": 3,
        "type": "image_labeled",
        "header": {
            "collection": "default",
            "job": "018f3e5a-0000-7000-8000-000000000001",
            "candidate": candidate().to_string(),
            "image": image.to_string(),
            "fetched": { "at": 1, "etag": "\"5\"" },
            "history": [{ "stage": "scraper", "at": 1 }],
        },
        "location": { "url": "http://site/1.jpg" },
        "normalized": ObjectKey::normalized(&image).as_str(),
        "width": 128,
        "height": 96,
        "measurements": {
            "format": "webp",
            "width": 640,
            "height": 480,
            "bytes": 48211,
            "phash": "f00d000000000001",
            "phash_mirrored": "0000000000000001",
            "brightness": 0.5,
            "contrast": 0.25,
            "sharpness": 120.0,
            "faces": [{
                "bounds": { "left": 0.5, "top": 0.25, "width": 0.375, "height": 0.5 },
                "score": 0.875,
                "key_points": {
                    "right_eye": { "x": 0.625, "y": 0.375 },
                    "left_eye": { "x": 0.75, "y": 0.375 },
                    "nose_tip": { "x": 0.6875, "y": 0.5 },
                    "mouth": { "x": 0.6875, "y": 0.625 },
                    "right_ear": { "x": 0.5, "y": 0.4375 },
                    "left_ear": { "x": 0.875, "y": 0.4375 },
                },
            }],
            "fingerprint": {
                "details": ["123456789abcdef04020601"],
                "thumbnail": "02469bdf".repeat(8),
            },
        },
        "label": "with_mask",
        "label_origin": "source",
        "prediction": {
            "model": labeled().prediction.unwrap().model.to_string(),
            "label": "without_mask",
            "confidence": 0.75,
            "agrees": false,
        },
    });
    assert_eq!(json, expected);
}

#[test]
fn a_rejection_says_which_candidate_was_rejected_and_by_whom() {
    let rejected = header().reject("validator", Reason::Empty);
    assert_eq!(
        (rejected.job, rejected.candidate, rejected.image),
        (JOB, candidate(), Some(ImageId::of(b"bytes")))
    );
    assert_eq!(rejected.stage, "validator");
    assert_eq!(rejected.history, header().history);

    let rejected = found().reject("scraper", Reason::Empty);
    assert_eq!(
        (rejected.job, rejected.candidate, rejected.image),
        (JOB, candidate(), None)
    );
    assert_eq!(rejected.history.last().unwrap().stage, "scraper");
}

#[test]
fn no_faces_and_faces_that_nobody_looked_for_are_told_apart() {
    let mut measurements = validated().measurements;
    for faces in [None, Some(vec![])] {
        measurements.faces = faces;
        let json = serde_json::to_string(&measurements).unwrap();
        let read: Measurements = serde_json::from_str(&json).unwrap();
        assert_eq!(read, measurements);
    }
}

#[test]
fn hashes_are_text_because_json_numbers_lose_bits() {
    let json = serde_json::to_value(validated().measurements).unwrap();
    assert_eq!(json["phash"], "f00d000000000001");
}

#[test]
fn unknown_fields_are_ignored_and_missing_optional_ones_have_defaults() {
    let json = format!(
        r#"{{"schema":3,"type":"source_requested","job":"{JOB}","colour":"red",
            "source":{{"kind":"folder","path":"/x","depth":3}},"labeling":null}}"#
    );
    let Message::SourceRequested(message) = Message::from_json(json.as_bytes()).unwrap() else {
        panic!("another type");
    };
    assert_eq!((message.cursor, message.found), (None, 0));
}

#[test]
fn another_schema_and_broken_bodies_are_malformed() {
    let newer = br#"{"schema":4,"type":"thought_had","depth":1}"#;
    assert!(matches!(
        Message::from_json(newer),
        Err(Malformed::Schema { found: 4 })
    ));
    let older = br#"{"schema":1,"type":"source_expanded","found":1}"#;
    let refused = Message::from_json(older).unwrap_err().to_string();
    assert!(refused.contains("schema 1"), "{refused}");
    let bodies: [&[u8]; 6] = [
        b"",
        b"{",
        b"\xff\xfe",
        b"{}",
        br#"{"schema":3,"type":"no_such_type"}"#,
        br#"{"schema":3,"type":"source_expanded","job":"not-an-id","found":1}"#,
    ];
    for body in bodies {
        assert!(matches!(Message::from_json(body), Err(Malformed::Body(_))));
    }
}

#[test]
fn every_message_has_exactly_one_queue_and_every_key_a_message() {
    let keys: BTreeSet<_> = one_of_each().iter().map(Message::key).collect();
    assert_eq!(keys.len(), one_of_each().len());
    let bound: Vec<_> = Queue::ALL.iter().flat_map(|queue| queue.keys()).collect();
    assert_eq!(bound.len(), keys.len());
    for key in keys {
        assert!(Queue::of_key(key).is_some(), "{key} leads nowhere");
    }
    assert_eq!(Queue::of_key("no.such.key"), None);
}

/// The queue and the keys of a queue's type, and the keys of the messages that it takes.
fn carried<T: QueueMessage>() -> (Queue, &'static [&'static str], BTreeSet<&'static str>) {
    let takes = |message: &Message| T::try_from(message.clone()).is_ok();
    let taken = one_of_each().into_iter().filter(takes);
    (
        T::QUEUE,
        T::KEYS,
        taken.map(|message| message.key()).collect(),
    )
}

#[test]
fn each_queues_type_takes_exactly_the_keys_bound_to_the_queue() {
    let types = [
        carried::<SourceRequested>(),
        carried::<CandidateFound>(),
        carried::<ImageFetched>(),
        carried::<ImageValidated>(),
        carried::<StorerImages>(),
        carried::<StorerJobs>(),
        carried::<TrainerRequests>(),
    ];
    let queues: Vec<_> = types.iter().map(|(queue, _, _)| *queue).collect();
    assert_eq!(queues, Queue::ALL);
    for (queue, keys, taken) in types {
        assert_eq!(keys, queue.keys());
        assert_eq!(taken, keys.iter().copied().collect());
    }
}

#[test]
fn a_message_that_a_queue_does_not_carry_is_given_back() {
    let message = Message::from(fetched());
    assert_eq!(
        StorerImages::try_from(message.clone()),
        Err(message.clone())
    );
    assert_eq!(ImageValidated::try_from(message.clone()), Err(message));
}

#[test]
fn names_of_queues_networks_and_optimizers_are_parsed_as_they_are_written() {
    for queue in Queue::ALL {
        assert_eq!(queue.name().parse::<Queue>().unwrap(), queue);
    }
    for network in NetworkName::ALL {
        assert_eq!(network.as_str().parse::<NetworkName>().unwrap(), network);
        let json = serde_json::to_value(network).unwrap();
        assert_eq!(json, network.as_str(), "JSON and torchvision say the same");
    }
    for optimizer in [Optimizer::Sgd, Optimizer::Adamw] {
        let json = serde_json::to_value(optimizer).unwrap();
        assert_eq!(json.as_str().unwrap().parse(), Ok(optimizer));
    }
    let all = [headers::TRACEPARENT, headers::ATTEMPTS, headers::ERROR];
    assert!(all.iter().all(|name| name.is_ascii()));
}

#[test]
fn a_text_that_is_no_name_is_repeated_beside_the_names_that_there_are() {
    let refused = "resnet".parse::<NetworkName>().unwrap_err().to_string();
    assert_eq!(
        refused,
        "\"resnet\" is not a network (mobilenet_v2, mobilenet_v3_small, mnasnet1_0, efficientnet_b0, efficientnet_lite0)"
    );
    let refused = "adam".parse::<Optimizer>().unwrap_err().to_string();
    assert_eq!(refused, "\"adam\" is not an optimizer (sgd, adamw)");
    let refused = "images".parse::<Queue>().unwrap_err().to_string();
    for queue in Queue::ALL {
        assert!(refused.contains(queue.name()), "{refused}");
    }
}

#[test]
fn a_message_that_is_given_up_has_a_failure_if_its_loss_ends_something() {
    for message in one_of_each() {
        let failure = message.failure("validator", "it broke", 3);
        match &message {
            Message::SourceRequested(_) => {
                assert!(matches!(failure, Some(Message::JobFailed(_))));
            }
            Message::ImageFailed(_) => assert_eq!(failure, None),
            _ if message.candidate().is_some() => {
                let Some(Message::ImageFailed(failed)) = failure else {
                    panic!("{} can be lost", message.key());
                };
                assert_eq!(Some(failed.candidate), message.candidate());
                assert_eq!(failed.attempts, 3);
            }
            _ => assert_eq!(failure, None, "{}", message.key()),
        }
    }
}

#[test]
fn ids_are_derived_from_what_they_name() {
    let (here, there) = (url("http://site/1.jpg"), url("http://site/2.jpg"));
    assert_eq!(CandidateId::of(JOB, &here), CandidateId::of(JOB, &here));
    assert_ne!(CandidateId::of(JOB, &here), CandidateId::of(JOB, &there));
    assert_ne!(
        CandidateId::of(JOB, &here),
        CandidateId::of(JobId::draw(), &here)
    );
    let labelled = |label: &str| CandidateId::of_labelled(JOB, &here, &label.parse().unwrap());
    assert_eq!(labelled("with_mask"), labelled("with_mask"));
    assert_ne!(labelled("with_mask"), labelled("without_mask"));
    // The digest that everybody's sha256sum prints.
    assert_eq!(
        ImageId::of(b"abc").to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    let dataset = DatasetId::of(b"x");
    let settings = TrainingSettings::default();
    let other = TrainingSettings {
        seed: 7,
        ..TrainingSettings::default()
    };
    let id = |settings: &TrainingSettings| RunId::of(&dataset, NetworkName::MobilenetV2, settings);
    assert_eq!(id(&settings), id(&settings));
    assert_ne!(id(&settings), id(&other));
}

#[test]
fn reasons_serialize_the_code_that_they_are_counted_by() {
    let reasons = [
        Reason::HttpStatus { status: 404 },
        Reason::Empty,
        Reason::NoLabel,
        Reason::ExactDuplicate { of: candidate() },
        Reason::Unchanged { since: candidate() },
        Reason::Removed,
        Reason::License { license: None },
        Reason::License {
            license: Some("by-nc 2.0".to_owned()),
        },
        Reason::BadSourceLine {
            line: 3,
            text: "x".to_owned(),
            problem: "not a URL".to_owned(),
        },
        Reason::Blurred {
            sharpness: 1.0,
            least: 20.0,
        },
    ];
    for reason in reasons {
        let json = serde_json::to_value(&reason).unwrap();
        assert_eq!(json["code"], reason.code());
        assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), reason);
        assert!(!reason.to_string().is_empty());
    }
    for code in <Reason as strum::VariantNames>::VARIANTS {
        let read = serde_json::from_value::<Reason>(serde_json::json!({ "code": code }));
        let is_known = match read {
            Ok(reason) => reason.code() == *code,
            Err(error) => error.to_string().contains("missing field"),
        };
        assert!(is_known, "JSON has another name than {code}");
    }
}

#[test]
fn names_that_could_leave_their_folder_are_refused() {
    for text in [
        "", "/", "a//b", "../a", "a/../b", "a/./b", "a\\b", "a b", "é",
    ] {
        assert!(text.parse::<ObjectKey>().is_err(), "key {text:?}");
    }
    let long = "x".repeat(65);
    for text in ["", "with mask", "a/b", ".hidden", long.as_str()] {
        assert!(text.parse::<Label>().is_err(), "label {text:?}");
    }
    assert!(serde_json::from_str::<Label>(r#""a/b""#).is_err());
    assert!(serde_json::from_str::<ObjectKey>(r#""../x""#).is_err());
}

proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::from_json(&body);
    }

    #[test]
    fn keys_stay_below_their_root(text in "[a-z./\\\\-]{0,30}") {
        if let Ok(key) = text.parse::<ObjectKey>() {
            let path = std::path::Path::new(key.as_str());
            prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
        }
    }
}
