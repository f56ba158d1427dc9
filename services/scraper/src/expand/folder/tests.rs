use std::{collections::BTreeSet, fs};

use tempfile::TempDir;

use super::{directory::BATCH, *};

fn folder(files: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for file in files {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    root
}

fn paths(root: &Path, cursor: Option<&str>) -> Vec<String> {
    let mut walk = Walk::open(root, cursor.map(Path::new)).unwrap();
    std::iter::from_fn(|| walk.next())
        .map(|entry| entry.path.to_str().unwrap().to_owned())
        .collect()
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
fn files_come_in_the_order_of_their_paths_without_hidden_ones() {
    let root = folder(&TREE);
    for hidden in [".DS_Store", "b/.thumbnail.jpg", ".git/config"] {
        let path = root.path().join(hidden);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    assert_eq!(paths(root.path(), None), TREE);
}

#[test]
fn a_walk_goes_on_after_any_file_and_after_one_that_is_gone() {
    let root = folder(&TREE);
    for (n, cursor) in TREE.iter().enumerate() {
        assert_eq!(paths(root.path(), Some(cursor)), TREE[n + 1..], "{cursor}");
    }
    let gone = [
        ("b/11.jpg", 3),
        ("b/c/x/y.jpg", 5),
        ("bb/1.jpg", 7),
        ("e", 9),
    ];
    for (cursor, rest) in gone {
        assert_eq!(paths(root.path(), Some(cursor)), TREE[rest..], "{cursor}");
    }
}

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

#[test]
fn a_folder_larger_than_a_batch_is_read_in_order_and_whole() {
    let root = TempDir::new().unwrap();
    let all = 2 * BATCH + 100;
    for n in 0..all {
        fs::write(root.path().join(format!("{n:06}")), "").unwrap();
    }
    let found = paths(root.path(), None);
    assert_eq!(found.len(), all);
    assert!(found.is_sorted());
    assert_eq!(paths(root.path(), Some("032700")).len(), all - 32701);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let root = folder(&["a/1.jpg", "b/2.jpg"]);
    symlink(root.path(), root.path().join("a/up")).unwrap();
    symlink("../a", root.path().join("b/a")).unwrap();
    symlink("b/2.jpg", root.path().join("link.jpg")).unwrap();
    symlink("nowhere", root.path().join("broken.jpg")).unwrap();
    let expected = ["a/1.jpg", "b/2.jpg", "b/a/1.jpg", "broken.jpg", "link.jpg"];
    assert_eq!(paths(root.path(), None), expected);
}

#[test]
fn links_that_lead_out_of_the_folder_are_rejected_and_not_followed() {
    use std::os::unix::fs::symlink;
    let (root, other) = (folder(&["a/1.jpg"]), folder(&["3.jpg"]));
    symlink(other.path(), root.path().join("folder")).unwrap();
    symlink(other.path().join("3.jpg"), root.path().join("file.jpg")).unwrap();
    symlink("../..", root.path().join("a/up")).unwrap();
    // The folder itself may be named by a link.
    let named = other.path().join("named");
    symlink(root.path(), &named).unwrap();
    for root in [root.path(), &named] {
        let mut walk = Walk::open(root, None).unwrap();
        let entries: Vec<Entry> = std::iter::from_fn(|| walk.next()).collect();
        let leads_out = |entry: &Entry| {
            let problem = entry.problem.as_deref().unwrap_or_default();
            problem.contains("leads out of the folder")
        };
        let seen = entries
            .iter()
            .map(|entry| (entry.path.to_str().unwrap(), leads_out(entry)));
        let expected = [
            ("a/1.jpg", false),
            ("a/up", true),
            ("file.jpg", true),
            ("folder", true),
        ];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_is_not_utf8_becomes_an_unreadable_candidate() {
    use std::os::unix::ffi::OsStrExt;
    let root = folder(&["a.jpg"]);
    let name = std::ffi::OsStr::from_bytes(b"b\xff.jpg");
    fs::write(root.path().join(name), "").unwrap();
    let (step, _) = step(root.path(), None, None, None).await.unwrap();
    assert_eq!(step.candidates.len(), 2);
    assert!(matches!(
        step.candidates[1].rejected,
        Some(Reason::Unreadable { .. })
    ));
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
            let labeling = Some(&Labeling::Folder);
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
    let (step, _) = step(root.path(), Some(&Labeling::Folder), None, None)
        .await
        .unwrap();
    let bad = Reason::BadLabel {
        text: "with mask".to_owned(),
    };
    assert_eq!(step.candidates[0].rejected, Some(bad));
    assert_eq!(step.candidates[1].label, Some("with_mask".parse().unwrap()));
}
