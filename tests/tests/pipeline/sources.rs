//! Sources of several kinds in one collection, and sources that are none.

use std::{fs, io::Write, path::Path, process::Command, sync::Arc};

use arrow::array::{Int64Array, RecordBatch};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use maskline_test_support::environment::Environment;
use maskline_tests::{
    collection::{Collection, Entry, class, counts_of},
    dataset::FrozenDataset,
    process::Pipeline,
    site::{Behaviour, Site},
};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

/// How a page shows the picture at a path.
type Markup = fn(&str) -> String;

pub async fn an_archive_a_compressed_list_and_a_crawl_become_one_version(
    environment: &mut Environment,
) {
    let faces = Collection::faces(50_000, 24);
    let archived = part(&faces, |n, _| n % 3 == 0);
    let listed = part(&faces, |n, _| n % 3 == 1);
    let shown = part(&faces, |n, entry| n % 3 == 2 && entry.label == class(true));
    let elsewhere = Collection::faces(60_000, 3);
    let archive = tar_gz(&archived, environment.folder());
    let files = faces_and(&faces, &elsewhere);
    let site = Site::serve_with(&files, Behaviour::default(), |at| {
        let list = json_lines(&listed, &format!("http://{at}/"));
        let mut files = pages(&shown, &elsewhere, at.port());
        files.push(("faces.tar.gz".to_owned(), archive));
        files.push(("faces.jsonl.gz".to_owned(), gzip(list.as_bytes())));
        files
    });
    let site = site.await;
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;

    let archive = site.file("faces.tar.gz");
    let args = ["archive", &archive, "--label-from", "folder", "--no-freeze"];
    let first = enqueue(environment, &args).await;
    assert_eq!(first["state"], "complete", "{first:#}");
    assert_eq!(counts_of(&first), archived.counts());
    assert_eq!(site.pictures_sent(), 0, "all of them are in the archive");

    let list = site.file("faces.jsonl.gz");
    let labels = ["--label-map", "1=with_mask,0=without_mask", "--no-freeze"];
    let args = ["urls", &list, "--label-column", "masked"];
    let second = enqueue(environment, &[&args[..], &labels].concat()).await;
    assert_eq!(second["state"], "complete", "{second:#}");
    assert_eq!(counts_of(&second), listed.counts());

    let page = site.file("gallery.html");
    let args = ["page", &page, "--label", "with_mask", "--depth", "1"];
    let third = enqueue(environment, &[&args[..], &["--same-site"]].concat()).await;
    assert_eq!(third["version"], "faces@1", "{third:#}");
    assert_eq!(counts_of(&third), shown.counts());

    let all = Collection {
        entries: [&archived, &listed, &shown]
            .into_iter()
            .flat_map(|part| part.entries.clone())
            .collect(),
        ..Collection::default()
    };
    let dataset = third["dataset"].as_str().expect("it is frozen");
    let frozen = FrozenDataset::read(environment, dataset.parse().expect("an id")).await;
    assert_eq!(frozen.labels(), all.dataset_labels());
    pipeline.stop().await;
}

pub async fn a_source_that_can_not_be_read_says_so_and_takes_nothing_away(
    environment: &mut Environment,
) {
    let faces = Collection::faces(70_000, 6);
    let folder = environment.folder().join("faces");
    faces.write(&folder);
    let no_archive = environment.folder().join("faces.zip");
    fs::write(&no_archive, "no archive at all").expect("a file can be written");
    let cut_short = environment.folder().join("cut.tar.gz");
    let archive = tar_gz(&faces, environment.folder());
    fs::write(&cut_short, &archive[..archive.len() / 2]).expect("a file can be written");
    let numbers = environment.folder().join("numbers.parquet");
    fs::write(&numbers, parquet_of_numbers()).expect("a file can be written");
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;

    let source = ["folder", text(&folder), "--label-from", "folder"];
    let first = enqueue(environment, &source).await;
    assert_eq!(first["version"], "faces@1", "{first:#}");

    let bad: [(&str, &Path, &[&str]); 3] = [
        (
            "archive",
            &no_archive,
            &[
                "faces.zip has none of the formats",
                "zip, tar, tar.gz or tar.zst",
            ],
        ),
        (
            "archive",
            &cut_short,
            &["cut.tar.gz can't be read on from member"],
        ),
        (
            "urls",
            &numbers,
            &[
                "numbers.parquet",
                "has no column `url`",
                "age",
                "--url-column",
            ],
        ),
    ];
    for (kind, path, expected) in bad {
        // The images before the cut are found, and have the labels that they have already.
        let labels = match kind {
            "archive" => ["--label-from", "folder"],
            _ => ["--label", "with_mask"],
        };
        let args = [&["enqueue", kind, text(path), "--wait"], &labels[..]].concat();
        let args = [&args[..], &["--collection", "faces", "--json"]].concat();
        let output = environment.run(&args, &[]).await;
        assert!(!output.success, "{kind} {}", path.display());
        let job: Value = serde_json::from_str(output.stdout.trim()).expect("it prints JSON");
        assert_eq!(job["state"], "failed", "{job:#}");
        let error = job["error"].as_str().expect("it says why");
        for words in expected {
            assert!(error.contains(words), "{kind}: {error}");
        }
    }
    let collections = environment.json(&["collections"]).await;
    let latest = json!({ "with_mask": 6, "without_mask": 6 });
    assert_eq!(
        collections[0]["latest"]["images"], latest,
        "{collections:#?}"
    );
    let again = enqueue(environment, &source).await;
    assert_eq!(
        again["version"], "faces@1",
        "nothing has changed: {again:#}"
    );
    pipeline.stop().await;
}

async fn enqueue(environment: &Environment, args: &[&str]) -> Value {
    let args = [&["enqueue"], args, &["--collection", "faces", "--wait"]].concat();
    environment.json(&args).await.remove(0)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The entries that `wanted` takes, which is given the number of each.
fn part(faces: &Collection, wanted: impl Fn(usize, &Entry) -> bool) -> Collection {
    // Each number has a face of each class.
    let numbered = faces
        .entries
        .iter()
        .enumerate()
        .map(|(n, entry)| (n / 2, entry));
    let entries = numbered.filter(|(n, entry)| wanted(*n, entry));
    Collection {
        entries: entries.map(|(_, entry)| entry.clone()).collect(),
        ..Collection::default()
    }
}

/// All files of a site: the faces, and below `elsewhere/` some others.
fn faces_and(faces: &Collection, elsewhere: &Collection) -> Collection {
    let mut all = faces.clone();
    all.entries
        .extend(elsewhere.entries.iter().map(|entry| Entry {
            path: format!("elsewhere/{}", entry.path),
            ..entry.clone()
        }));
    all
}

/// The faces as a compressed tar, in folders that are named after their classes.
fn tar_gz(faces: &Collection, folder: &Path) -> Bytes {
    let unpacked = folder.join("unpacked");
    faces.write(&unpacked);
    let packed = Command::new("tar")
        .args(["-cz", "-C", text(&unpacked), "."])
        .output()
        .expect("tar runs");
    assert!(packed.status.success(), "{packed:?}");
    fs::remove_dir_all(unpacked).expect("a folder can be removed");
    packed.stdout.into()
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(bytes).expect("memory takes bytes");
    encoder.finish().expect("memory takes bytes").into()
}

/// A list whose column of labels has numbers.
fn json_lines(faces: &Collection, site: &str) -> String {
    let row = |entry: &Entry| {
        let url = format!("{site}{}", entry.path);
        let masked = u8::from(entry.label == class(true));
        let row = json!({ "url": url, "masked": masked, "caption": "a drawn face" });
        format!("{row}\n")
    };
    faces.entries.iter().map(row).collect()
}

/// A page that shows every third face and links to another that shows the rest, each in another
/// way. Both link to pages that are not to be read, because they are too deep or on another site.
fn pages(faces: &Collection, elsewhere: &Collection, port: u16) -> Vec<(String, Bytes)> {
    let ways: [Markup; 3] = [
        |path| format!(r#"<img src="/{path}">"#),
        |path| format!(r#"<picture><source srcset="/{path} 2x"></picture>"#),
        |path| {
            format!(r#"<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" data-src="/{path}">"#)
        },
    ];
    let (mut first, mut second) = (String::new(), String::new());
    for (n, entry) in faces.entries.iter().enumerate() {
        let page = if n % 3 == 0 { &mut first } else { &mut second };
        *page += &ways[n / 3 % 3](&entry.path);
    }
    let other = elsewhere.entries.iter();
    let other: String = other
        .map(|entry| ways[0](&format!("elsewhere/{}", entry.path)))
        .collect();
    let away = format!(r#"<a href="http://localhost:{port}/away.html">elsewhere</a>"#);
    let page = |body: &str| Bytes::from(format!("<!doctype html><body>{body}</body>"));
    vec![
        (
            "gallery.html".to_owned(),
            page(&format!(r#"{first}<a href="more.html">more</a>{away}"#)),
        ),
        (
            "more.html".to_owned(),
            page(&format!(
                r#"{second}<a href="gallery.html">back</a><a href="deep.html">"#
            )),
        ),
        ("deep.html".to_owned(), page(&other)),
        ("away.html".to_owned(), page(&other)),
    ]
}

/// A Parquet file without any URL.
fn parquet_of_numbers() -> Vec<u8> {
    let ages = Arc::new(Int64Array::from_iter_values(0..10));
    let batch = RecordBatch::try_from_iter([("age", ages as _)]).expect("one column");
    let mut writer = ArrowWriter::try_new(vec![], batch.schema(), None).expect("plain types");
    writer.write(&batch).expect("memory takes bytes");
    writer.into_inner().expect("memory takes bytes")
}
