//! What people do with models: they ask about pictures with several people, and train further from
//! weights that they have.

use image::{GenericImage, RgbImage};
use maskline_test_support::environment::Environment;
use maskline_tests::{
    collection::Collection,
    pictures::{face, png},
    process::{Pipeline, SERVICES},
    site::{Behaviour, Site},
};
use serde_json::Value;

/// The side of the picture of one person, in pixels.
const SIDE: u32 = 200;

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

    // Three people in one picture.
    let mut group = RgbImage::new(3 * SIDE, SIDE);
    for (place, masked) in [(0, true), (1, false), (2, true)] {
        let one = face(61_000 + u64::from(place), masked, SIDE);
        group
            .copy_from(&one, place * SIDE, 0)
            .expect("there is room for three");
    }
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
    assert!(faces.len() >= 2, "{:#}", answers[0]);
    assert_eq!(answers[0]["label"], faces[0]["label"]);
    for found in faces {
        let bbox = found["bbox"].as_array().expect("a box");
        let [left, _, width, _] = [0, 1, 2, 3].map(|at| bbox[at].as_f64().expect("a number"));
        assert!(
            width > 30.0 && left > -20.0 && left + width < 620.0,
            "{found:#}"
        );
        let confidence = found["confidence"].as_f64().expect("a number");
        assert!((0.5..=1.0).contains(&confidence), "{found:#}");
    }
    let with_boxes = image::open(&out).expect("a picture").to_rgb8();
    assert_eq!(with_boxes.dimensions(), group.dimensions());
    assert_ne!(with_boxes, group);

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
        "They fit efficientnet_lite0: give --network efficientnet_lite0",
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
