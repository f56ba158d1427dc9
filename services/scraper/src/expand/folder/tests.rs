use std::{collections::BTreeSet, fs};

use tempfile::TempDir;

use super::*;

const BY_FOLDER: Labeling = Labeling::Folder { classes: vec![] };

fn folder(files: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for file in files {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    root
}

const TREE: [&str; 9] = [
    "a.jpg",
    "b/1.jpg",
    "b/10.jpg",
    "b/2.jpg",
    "b/c/deep.png",
    "b/z",
    "b.jpg",
    "c/without-extension",
    "d.txt",
];

#[test]
fn a_kept_walk_skips_to_the_cursor_that_another_replica_reached() {
    let root = folder(&TREE);
    let mut walk = Walk::open(root.path(), None).unwrap();
    walk.next();
    let mut walk = walk_from(root.path(), Some(Path::new("b/2.jpg")), Some(walk)).unwrap();
    assert_eq!(walk.next().unwrap().path, Path::new("b/c/deep.png"));
    // A kept walk that is already past the cursor is not used.
    let mut walk = walk_from(root.path(), Some(Path::new("a.jpg")), Some(walk)).unwrap();
    assert_eq!(walk.next().unwrap().path, Path::new("b/1.jpg"));
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_kept_and_a_step_may_end_at_it() {
    use std::os::unix::ffi::OsStrExt;
    let root = TempDir::new().unwrap();
    for n in 0..STEP_SIZE + 2 {
        let name = [format!("{n:06}").as_bytes(), b"\xff.jpg"].concat();
        fs::write(root.path().join(std::ffi::OsStr::from_bytes(&name)), "").unwrap();
    }
    let (first, _) = step(root.path(), None, None, None).await.unwrap();
    assert_eq!(first.candidates.len(), STEP_SIZE);
    let cursor = first.next_cursor.unwrap();
    assert_eq!(cursor, format!("file:{:06}%FF.jpg", STEP_SIZE - 1));
    let (second, _) = step(root.path(), None, Some(&cursor), None).await.unwrap();
    assert_eq!(second.candidates.len(), 2);
    for candidate in first.candidates.iter().chain(&second.candidates) {
        assert_eq!(candidate.rejected, None);
        let Location::Path(path) = &candidate.location else {
            panic!("{:?}", candidate.location)
        };
        assert!(path.exists());
        let json = serde_json::to_string(&candidate.location).unwrap();
        let read: Location = serde_json::from_str(&json).unwrap();
        assert_eq!(read, candidate.location);
    }
}

#[tokio::test]
async fn all_steps_together_find_each_file_once() {
    let root = TempDir::new().unwrap();
    for n in 0..2 * STEP_SIZE + 7 {
        let class = ["with", "without"][n % 2];
        let path = root.path().join(class).join(format!("{n}.jpg"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    for keep in [false, true] {
        let (mut cursor, mut kept, mut sizes) = (None, None, vec![]);
        let mut seen = BTreeSet::new();
        loop {
            let labeling = Some(&BY_FOLDER);
            let (step, walk) = step(root.path(), labeling, cursor.as_deref(), kept)
                .await
                .unwrap();
            sizes.push(step.candidates.len());
            for candidate in step.candidates {
                let Location::Path(path) = candidate.location else {
                    panic!("{:?}", candidate.location)
                };
                let class = path.parent().unwrap().file_name().unwrap();
                assert_eq!(candidate.label.unwrap().as_str(), class);
                assert!(seen.insert(path));
            }
            kept = keep.then_some(walk);
            cursor = step.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [STEP_SIZE, STEP_SIZE, 7]);
    }
}

#[tokio::test]
async fn a_folder_without_files_is_an_error_that_says_what_to_do() {
    let root = folder(&["file", "empty/.hidden"]);
    let cases = [
        ("missing", "can't be read"),
        ("file", "can't be read"),
        ("empty", "no images in folder"),
    ];
    for (name, expected) in cases {
        let error = step(&root.path().join(name), None, None, None)
            .await
            .map(|_| ())
            .unwrap_err();
        let ExpandError::Source(text) = error else {
            panic!("{name}: {error}");
        };
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(name), "{text}");
    }
}

#[tokio::test]
async fn labels_come_from_the_folder_that_a_file_lies_in() {
    let root = folder(&["people/with_mask/1.jpg", "people/with mask/2.jpg"]);
    let (step, _) = step(root.path(), Some(&BY_FOLDER), None, None)
        .await
        .unwrap();
    let bad = Reason::BadLabel {
        text: "with mask".to_owned(),
    };
    assert_eq!(step.candidates[0].rejected, Some(bad));
    assert_eq!(step.candidates[1].label, Some("with_mask".parse().unwrap()));
}

#[tokio::test]
async fn the_nearest_folder_that_is_a_class_gives_the_label() {
    let root = folder(&[
        "with_mask/2020/large/1.jpg",
        "with_mask/without_mask/2.jpg",
        "elsewhere/3.jpg",
    ]);
    let classes = ["with_mask", "without_mask"].map(|class| class.parse().unwrap());
    let labeling = Labeling::Folder {
        classes: classes.to_vec(),
    };
    let (step, _) = step(root.path(), Some(&labeling), None, None)
        .await
        .unwrap();
    let labels = step
        .candidates
        .into_iter()
        .map(|found| found.label.unwrap());
    let labels: Vec<String> = labels.map(String::from).collect();
    assert_eq!(labels, ["elsewhere", "with_mask", "without_mask"]);
}
