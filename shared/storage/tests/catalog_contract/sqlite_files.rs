//! Tests that concern SQLite's files alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures::future::join_all;
use maskline_storage::{StorageErrorKind, catalog, records::Removal};

use crate::{
    environment::Environment,
    samples::{add, candidate, found_job, recorded_job, store, usual},
};

fn file_of(environment: &Environment) -> PathBuf {
    environment
        .catalog_address()
        .strip_prefix("sqlite:")
        .expect("its kind")
        .into()
}

async fn refused(environment: &Environment) -> String {
    match catalog::open(environment.catalog_address()).await {
        Err(error) if error.kind() == StorageErrorKind::Misconfigured => format!("{error:#}"),
        Err(other) => panic!("another kind of error: {other:?}"),
        Ok(_) => panic!("{} opened", environment.catalog_address()),
    }
}

#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    let environment = Environment::embedded();
    recorded_job(&*environment.catalog().await).await;
    let raw = rusqlite::Connection::open(file_of(&environment)).unwrap();
    raw.pragma_update(None, "user_version", 8).unwrap();
    let text = refused(&environment).await;
    assert!(text.contains("written by another version of maskline"));
    assert!(text.contains("found 8, this build reads 7"), "{text}");
    let tables: i64 = raw
        .query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1, "nothing was changed");
}

#[tokio::test]
async fn a_file_of_a_version_before_the_first_step_is_refused() {
    let environment = Environment::embedded();
    environment.catalog().await;
    let raw = rusqlite::Connection::open(file_of(&environment)).unwrap();
    raw.pragma_update(None, "user_version", 4).unwrap();
    let text = refused(&environment).await;
    assert!(text.contains("found 4, this build reads 7"), "{text}");
}

/// What files of version 6 and 5 do not have.
const BACK_TO_5: &str = "
    DROP TABLE studies;
    DROP TABLE trial_results;
    DROP TABLE removed_places;
    DROP INDEX candidates_by_landing_page;
    ALTER TABLE claims DROP COLUMN purged;
    UPDATE jobs SET record = json_remove(record, '$.purged');
    PRAGMA user_version = 5;
";

#[tokio::test]
async fn a_file_of_version_5_is_brought_to_this_one() {
    let environment = Environment::embedded();
    let file = file_of(&environment);
    let (job, image, columns) = {
        let catalog = environment.catalog().await;
        let job = recorded_job(&*catalog).await;
        let found = candidate(job, 0);
        add(&*catalog, &found).await;
        let image = store(&*catalog, &found, b"a", "with_mask").await;
        let collection = usual();
        let claiming = catalog.claim_image(&collection, &image.image, found.id);
        claiming.await.unwrap();
        (found_job(&*catalog, job).await, image, columns(&file))
    };
    let old = rusqlite::Connection::open(&file).unwrap();
    old.execute_batch(BACK_TO_5).unwrap();
    assert_ne!(self::columns(&file), columns);
    drop(old);

    let openings = (0..4).map(|_| catalog::open(environment.catalog_address()));
    for opened in join_all(openings).await {
        let catalog = opened.expect("it is migrated once");
        assert_eq!(found_job(&*catalog, job.id).await, job);
        let found = catalog.image(&usual(), &image.image).await;
        assert_eq!(found, Ok(Some(image.clone())));
    }
    assert_eq!(self::columns(&file), columns, "as a new file has them");
    let catalog = environment.catalog().await;
    let images = [image.image];
    catalog
        .remove_images(&usual(), &images, true)
        .await
        .unwrap();
    let removal = catalog.removal(&usual(), &image.image).await;
    assert_eq!(removal, Ok(Some(Removal { purged: true })));
}

/// The columns of all tables and the names of all indexes.
fn columns(file: &Path) -> Vec<String> {
    let raw = rusqlite::Connection::open(file).unwrap();
    let mut select = raw
        .prepare(
            "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\"
             FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'
             UNION SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY 1",
        )
        .unwrap();
    let names = select.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let environment = Environment::embedded();
    let file = file_of(&environment);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = "url,label\nhttps://example.org/a.jpg,with_mask\n".repeat(100);
    fs::write(&file, &text).unwrap();
    assert!(
        refused(&environment)
            .await
            .contains("damaged or no database")
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), text, "left alone");
}

#[tokio::test]
async fn a_database_of_something_else_is_refused() {
    let environment = Environment::embedded();
    let file = file_of(&environment);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.execute_batch("CREATE TABLE recipes (name TEXT)")
        .unwrap();
    assert!(refused(&environment).await.contains("not of maskline"));
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let environment = Environment::embedded();
    recorded_job(&*environment.catalog().await).await;
    let file = file_of(&environment);
    let whole = fs::read(&file).unwrap();
    // The header stays whole, and the list of tables is overwritten.
    let mut damaged = whole.clone();
    damaged[100..].fill(0xff);
    for suffix in ["-wal", "-shm"] {
        let mut beside = file.clone().into_os_string();
        beside.push(suffix);
        fs::remove_file(beside).ok();
    }
    fs::write(&file, damaged).unwrap();
    assert!(refused(&environment).await.contains("put back a copy"));
}

#[tokio::test]
async fn a_folder_that_can_not_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for path in ["file/catalog.db", "."] {
        let mut environment = Environment::embedded();
        environment.keep_catalog_in(&folder.path().join(path));
        let text = refused(&environment).await;
        assert!(text.contains("another f"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_make_one_catalog() {
    let environment = Environment::embedded();
    let openings = (0..8).map(|_| catalog::open(environment.catalog_address()));
    let catalogs: Vec<_> = join_all(openings)
        .await
        .into_iter()
        .map(|opened| opened.expect("it opens"))
        .collect();
    let job = recorded_job(&*catalogs[0]).await;
    for catalog in &catalogs {
        assert!(catalog.job(job).await.unwrap().is_some());
    }
}
