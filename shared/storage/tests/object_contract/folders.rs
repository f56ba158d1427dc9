//! Tests that concern folders alone.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use maskline_storage::{StorageErrorKind, objects};

use crate::{
    environment::Environment,
    samples::{names_of, put_all},
};

fn root(environment: &Environment) -> PathBuf {
    environment
        .objects_address()
        .strip_prefix("file:")
        .expect("its kind")
        .into()
}

#[tokio::test]
async fn a_folder_that_can_not_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let address = format!("file:{}", folder.path().join("file/objects").display());
    let error = objects::open(&address).await.err().expect("it is refused");
    assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("--objects file:"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_gone_answers_no_ping() {
    let environment = Environment::embedded();
    let store = environment.objects().await;
    fs::remove_dir_all(root(&environment)).unwrap();
    assert!(store.ping().await.is_err());
}

#[tokio::test]
async fn a_file_whose_path_is_no_key_is_not_listed() {
    let environment = Environment::embedded();
    let store = environment.objects().await;
    put_all(&store, &["a/b"]).await;
    for stranger in ["a/b c", "a/~b", "notes (2).txt"] {
        fs::write(root(&environment).join(stranger), "x").unwrap();
    }
    let listed = store.list("", None, 10).await.unwrap();
    assert_eq!(names_of(&listed), ["a/b"]);
}

#[tokio::test]
async fn unfinished_files_of_a_killed_process_are_removed_after_an_hour() {
    let environment = Environment::embedded();
    environment.objects().await;
    let unfinished = root(&environment).join("~unfinished");
    let [fresh, abandoned] = ["fresh", "abandoned"].map(|name| unfinished.join(name));
    fs::write(&fresh, "x").unwrap();
    let old = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    let file = File::create(&abandoned).unwrap();
    file.set_modified(old).unwrap();
    environment.objects().await;
    assert!(fresh.exists(), "somebody may be writing it");
    assert!(!abandoned.exists());
}
