use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    process::Command,
};

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
    let walk = Walk::open(root, cursor.map(Path::new)).unwrap();
    walk.map(|entry| entry.path.to_str().unwrap().to_owned())
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

#[test]
fn links_are_followed_but_not_in_circles() {
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
    let (root, other) = (folder(&["a/1.jpg"]), folder(&["3.jpg"]));
    symlink(other.path(), root.path().join("folder")).unwrap();
    symlink(other.path().join("3.jpg"), root.path().join("file.jpg")).unwrap();
    symlink("../..", root.path().join("a/up")).unwrap();
    // The folder itself may be named by a link.
    let named = other.path().join("named");
    symlink(root.path(), &named).unwrap();
    for root in [root.path(), &named] {
        let entries: Vec<Entry> = Walk::open(root, None).unwrap().collect();
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

#[test]
fn folders_that_link_to_each_other_are_walked_to_an_end() {
    let folders: Vec<String> = (0..8).map(|n| format!("{n}/a.jpg")).collect();
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    let root = folder(&folders);
    for from in 0..8 {
        for to in 0..8 {
            let link = root.path().join(format!("{from}/to{to}"));
            symlink(format!("../{to}"), link).unwrap();
        }
    }
    let (files, refused): (Vec<Entry>, Vec<Entry>) = Walk::open(root.path(), None)
        .unwrap()
        .partition(|entry| entry.problem.is_none());
    // Each folder, those reached from it by one link, and those by two.
    assert_eq!(files.len(), 8 + 8 * 7 + 8 * 7 * 6);
    let problem = refused[0].problem.as_deref().unwrap();
    assert!(problem.contains("reached by 2 links"), "{problem}");
}

#[test]
fn names_that_are_not_utf8_are_names_and_what_is_no_file_is_named() {
    let root = folder(&["a.jpg"]);
    let name = OsStr::from_bytes(b"b\xff.jpg");
    fs::write(root.path().join(name), "").unwrap();
    let made = Command::new("mkfifo")
        .arg(root.path().join("pipe"))
        .status();
    assert!(made.unwrap().success());
    symlink("pipe", root.path().join("pipe2")).unwrap();
    let entry = |name: &OsStr, problem: Option<&str>| Entry {
        path: name.into(),
        problem: problem.map(str::to_owned),
    };
    let pipe = Some("it is a named pipe, and no regular file");
    let expected = [
        entry(OsStr::new("a.jpg"), None),
        entry(name, None),
        entry(OsStr::new("pipe"), pipe),
        entry(OsStr::new("pipe2"), pipe),
    ];
    let found: Vec<Entry> = Walk::open(root.path(), None).unwrap().collect();
    assert_eq!(found, expected);
    let rest: Vec<Entry> = Walk::open(root.path(), Some(Path::new(name)))
        .unwrap()
        .collect();
    assert_eq!(rest, expected[2..]);
}

#[test]
fn a_person_may_name_a_file_or_a_folder() {
    let root = folder(&["a/1.jpg", "a/.hidden/2.jpg", "a/b/3.jpg"]);
    let at = |name: &str| -> Vec<(PathBuf, bool)> {
        let path = root.path().join(name);
        let entries = files_at(&path).map(|entry| (entry.path, entry.problem.is_none()));
        entries.collect()
    };
    let path = |name: &str| root.path().join(name);
    let all = [(path("a/1.jpg"), true), (path("a/b/3.jpg"), true)];
    assert_eq!(at("a"), all);
    assert_eq!(at("a/1.jpg"), all[..1]);
    assert_eq!(at("a/.hidden/2.jpg"), [(path("a/.hidden/2.jpg"), true)]);
    assert_eq!(at("gone"), [(path("gone"), false)]);
    assert_eq!(at("a/1.jpg/x"), [(path("a/1.jpg/x"), false)]);
}
