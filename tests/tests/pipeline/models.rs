//! What people do with models: they ask about pictures with several people, and train further from
//! weights that they have.

use std::collections::BTreeMap;

use image::{GenericImage, RgbImage};
use maskline_test_support::environment::Environment;
use maskline_tests::{
    collection::{Collection, class},
    pictures::{face, face_and_head, png},
    process::{Pipeline, SERVICES},
    site::{Behaviour, Site},
};
use serde_json::Value;

/// The side of the picture of one person, in pixels.
const SIDE: u32 = 200;

/// The people in one picture: the seed of each drawing, and whether it has a mask. They are drawings
/// of which the detector is surer than of most, because this test is not about the detector.
const PEOPLE: [(u64, bool); 4] = [
    (61_011, true),
    (61_012, false),
    (61_017, false),
    (61_014, true),
];

/// The least intersection over union of a head and the box of its face. A face goes from the brows to
/// the chin, so that it is smaller than the head.
const LEAST_OVERLAP: f32 = 0.4;

/// Short training.
const SHORT: [&str; 6] = ["--epochs", "1", "--pixels", "32", "--batch", "8"];

pub async fn a_model_is_asked_about_every_face_and_trained_from(environment: &mut Environment) {
    let drawn = Collection::faces(60_000, 30);
    let folder = environment.folder().join("folder");
    drawn.write(&folder);
    let pipeline = Pipeline::start(environment, &SERVICES).await;
    let folder = folder.to_str().expect("a plain path");
    let source = ["enqueue", "folder", folder, "--label-from", "folder"];
    let probe = ["--collection", "masks", "--train", "--wait"];
    let job = environment.json(&[&source[..], &probe].concat()).await;
    let probe = text(&job[0]["runs"][0]["id"]).to_owned();
    assert_eq!(job[0]["runs"][0]["network"], "linear_probe");

    let (group, people) = group();
    let file = environment.folder().join("group.png");
    std::fs::write(&file, png(&group)).expect("the file is written");
    let (file, out) = (
        file.to_str().expect("a plain path"),
        environment.folder().join("drawn.png"),
    );
    let draw = ["--draw", out.to_str().expect("a plain path")];
    let predict = ["predict", &probe, file];
    let answers = environment.json(&[&predict[..], &draw].concat()).await;
    let faces = answers[0]["faces"].as_array().expect("a list of faces");
    assert_eq!(answers[0]["label"], faces[0]["label"]);
    check_faces(faces, &people);
    let with_boxes = image::open(&out).expect("a picture").to_rgb8();
    check_boxes(faces, &group, &with_boxes);

    // A folder is evaluated by the same faces, and a picture without any face by all of it.
    let people = environment.folder().join("people");
    let sky = RgbImage::from_fn(SIDE, SIDE, |_, y| {
        image::Rgb([90, 120, 160 + (y / 4) as u8])
    });
    for (class, picture) in [("with_mask", &group), ("without_mask", &sky)] {
        let folder = people.join(class);
        std::fs::create_dir_all(&folder).expect("the folder is made");
        std::fs::write(folder.join("one.png"), png(picture)).expect("the file is written");
    }
    let people = people.to_str().expect("a plain path");
    let evaluated = environment.json(&["evaluate", &probe, people]).await;
    let files = evaluated[0]["files"].as_array().expect("a list of files");
    let of = |class: &str| files.iter().find(|file| file["true"] == class);
    let [of_group, of_sky] = ["with_mask", "without_mask"].map(|class| of(class).expect("a file"));
    assert_eq!(of_group["faces"], answers[0]["faces"]);
    assert_eq!(of_group["label"], answers[0]["label"]);
    assert_eq!(of_sky["faces"], serde_json::json!([]), "{of_sky:#}");
    let confidence = of_sky["confidence"].as_f64().expect("a number");
    assert!((0.5..=1.0).contains(&confidence), "{of_sky:#}");
    let accuracy = evaluated[0]["accuracy"].as_f64().expect("a number");
    let interval = &evaluated[0]["interval"];
    let [low, high] = [0_usize, 1].map(|side| interval[side].as_f64().expect("a number"));
    // Two pictures tell little.
    assert!(high - low > 0.5, "{interval}");
    assert!((low - 1e-9..=high + 1e-9).contains(&accuracy), "{interval}");

    // Weights of another network are refused by their tensors.
    let train = [
        "train",
        "masks",
        "--network",
        "mobilenet_v3_small",
        "--from",
    ];
    let refused = environment
        .run(&[&train[..], &[&probe]].concat(), &[])
        .await;
    assert!(!refused.success);
    for expected in [
        "these are not the weights of mobilenet_v3_small",
        "They are those of efficientnet_lite0",
    ] {
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }

    // A network from scratch, and one from its weights, which are read from a file.
    let scratch = [&train[..], &["scratch", "--wait"], &SHORT].concat();
    let first = environment.json(&scratch).await;
    assert_eq!(first[0]["state"], "done", "{:#}", first[0]);
    let first = text(&first[0]["id"]).to_owned();
    let again = [&train[..], &[&first, "--wait"], &SHORT].concat();
    let second = environment.json(&again).await;
    assert_eq!(second[0]["state"], "done", "{:#}", second[0]);
    assert_ne!(second[0]["id"], first.as_str());
    pipeline.stop().await;
}

/// A person who was drawn.
struct Person {
    class: &'static str,
    /// The box around the head: left, top, width and height in pixels.
    head: [f32; 4],
}

/// All people in one picture, in two rows.
fn group() -> (RgbImage, Vec<Person>) {
    let mut group = RgbImage::new(2 * SIDE, 2 * SIDE);
    let mut people = vec![];
    for (place, (seed, masked)) in (0..).zip(PEOPLE) {
        let (left, top) = (place % 2 * SIDE, place / 2 * SIDE);
        let (one, [x, y, width, height]) = face_and_head(seed, masked, SIDE);
        let copied = group.copy_from(&one, left, top);
        copied.expect("there is room for four");
        people.push(Person {
            class: class(masked),
            head: [left as f32 + x, top as f32 + y, width, height],
        });
    }
    (group, people)
}

/// Each person has a face where the head was drawn, of the class that was drawn, and nothing else is
/// taken for a face.
fn check_faces(faces: &[Value], people: &[Person]) {
    assert_eq!(faces.len(), people.len(), "{faces:#?}");
    for Person { class, head } in people {
        let face = faces
            .iter()
            .find(|face| overlap(bbox(face), *head) >= LEAST_OVERLAP)
            .unwrap_or_else(|| panic!("there is no face at {head:?}: {faces:#?}"));
        assert_eq!(face["label"], *class, "the face at {head:?}: {face:#}");
        let confidence = face["confidence"].as_f64().expect("a number");
        assert!((0.5..=1.0).contains(&confidence), "{face:#}");
    }
}

/// The edges of each face's box have the colour of its class, and the face in the box is as it was.
fn check_boxes(faces: &[Value], group: &RgbImage, with_boxes: &RgbImage) {
    assert_eq!(with_boxes.dimensions(), group.dimensions());
    let mut colours = BTreeMap::new();
    for face in faces {
        let [left, top, width, height] = bbox(face).map(|value| value.round() as u32);
        let (across, down) = (left + width / 2, top + height / 2);
        let edges = [
            (left, down),
            (left + width - 1, down),
            (across, top + height - 1),
        ];
        let colour = with_boxes.get_pixel(left, down);
        for (x, y) in edges {
            assert_eq!(with_boxes.get_pixel(x, y), colour, "{x}, {y}: {face:#}");
            assert_ne!(group.get_pixel(x, y), colour, "{x}, {y}: {face:#}");
        }
        let inside = with_boxes.get_pixel(across, down);
        assert_eq!(inside, group.get_pixel(across, down), "{face:#}");
        let of_class = colours.entry(text(&face["label"])).or_insert(colour);
        assert_eq!(*of_class, colour, "{face:#}");
    }
    assert_ne!(colours["with_mask"], colours["without_mask"]);
}

/// The box of a face in an answer: left, top, width and height in pixels.
fn bbox(face: &Value) -> [f32; 4] {
    let bbox = &face["bbox"];
    [0_usize, 1, 2, 3].map(|at| bbox[at].as_f64().expect("a number") as f32)
}

/// The intersection of two boxes over their union.
fn overlap(one: [f32; 4], other: [f32; 4]) -> f32 {
    let along = |axis: usize| {
        let end = (one[axis] + one[axis + 2]).min(other[axis] + other[axis + 2]);
        (end - one[axis].max(other[axis])).max(0.0)
    };
    let both = along(0) * along(1);
    both / (one[2] * one[3] + other[2] * other[3] - both)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_weights_are_downloaded_checked_and_kept() {
    let environment = Environment::embedded();
    let file = "mobilenet_v3_small-047dcff4.pth";
    let (nothing, wrong) = (Collection::default(), b"not the weights");
    let more = |_| vec![(file.to_owned(), (&wrong[..]).into())];
    let site = Site::serve_with(&nothing, Behaviour::default(), more).await;
    let fetch = ["weights", "fetch", "mobilenet_v3_small", "--base-url"];
    let url = site.url();
    let refused = environment.run(&[&fetch[..], &[&url]].concat(), &[]).await;
    assert!(!refused.success);
    assert!(
        refused.stderr.contains("should begin with 047dcff4"),
        "{}",
        refused.stderr
    );
    let kept = environment
        .folder()
        .join("maskline-data/weights")
        .join(file);
    assert!(!kept.exists(), "what is not the file is not kept");

    // Nobody listens there.
    let nowhere = ["http://127.0.0.1:9/"];
    let refused = environment.run(&[&fetch[..], &nowhere].concat(), &[]).await;
    assert!(!refused.success);
    assert!(refused.stderr.contains("--from"), "{}", refused.stderr);

    let listed = environment.json(&["weights", "list"]).await;
    let files: Vec<&str> = listed.iter().map(|of| text(&of["file"])).collect();
    assert!(files.contains(&file), "{files:?}");
    for of in &listed {
        let file = text(&of["file"]);
        let url = format!("https://download.pytorch.org/models/{file}");
        assert_eq!(of["url"], url);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_of_a_flag_is_1_or_0() {
    let environment = Environment::embedded();
    let file = environment.folder().join("face.png");
    std::fs::write(&file, png(&face(1, false, SIDE))).expect("the file is written");
    let check = ["check", file.to_str().expect("a plain path")];
    for (value, looks) in [("1", false), ("0", true), ("true", false), ("", true)] {
        let variable = ("MASKLINE_NO_FACES".to_owned(), value.to_owned());
        let checked = environment.json_with(&check, &[variable]).await;
        assert_eq!(
            !checked[0]["faces"].is_null(),
            looks,
            "{value}: {:#}",
            checked[0]
        );
    }
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}
