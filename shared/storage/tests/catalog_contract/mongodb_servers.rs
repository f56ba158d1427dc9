//! Tests that concern MongoDB's servers alone.

use futures::future::join_all;
use maskline_storage::{StorageErrorKind, catalog};
use mongodb::bson::{Document, doc};

use crate::{
    environment::Environment,
    samples::{found_job, recorded_job},
};

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("mongodb://me:hunter2@{nobody}/faces?serverSelectionTimeoutMS=200");
    let error = catalog::open(&url).await.err().expect("nobody is there");
    assert_eq!(error.kind(), StorageErrorKind::Unavailable, "{error:?}");
    let text = format!("{error:#} {error:?}");
    assert!(text.contains(&nobody.to_string()), "{text}");
    assert!(text.contains("database faces"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_database_of_another_version_is_refused() {
    for found in [4, 8] {
        is_refused(found).await;
    }
}

/// The database's version as another build would have written it.
async fn set_version(environment: &Environment, version: i32) -> mongodb::Database {
    let client = mongodb::Client::with_uri_str(environment.catalog_address())
        .await
        .unwrap();
    let database = client.default_database().expect("it names a database");
    let versions = database.collection::<Document>("versions");
    let other = doc! { "$set": { "version": version } };
    let updated = versions.update_one(doc! { "_id": "catalog" }, other).await;
    assert_eq!(updated.unwrap().modified_count, 1);
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_version_5_is_brought_to_this_one() {
    let environment = Environment::embedded().on_mongodb();
    environment.run_test(is_brought_to_this_version).await;
}

async fn is_brought_to_this_version(environment: &Environment) {
    let catalog = environment.catalog().await;
    let id = recorded_job(&*catalog).await;
    let job = found_job(&*catalog, id).await;
    let database = set_version(environment, 5).await;
    let jobs = database.collection::<Document>("jobs");
    let older = doc! { "$unset": { "purged": "" } };
    jobs.update_many(doc! {}, older).await.unwrap();
    assert!(catalog.job(id).await.is_err(), "it can't be read");

    let openings = (0..4).map(|_| catalog::open(environment.catalog_address()));
    for opened in join_all(openings).await {
        let catalog = opened.expect("it is migrated");
        assert_eq!(found_job(&*catalog, id).await, job);
    }
    let versions = database.collection::<Document>("versions");
    let version = versions.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(version.get_i32("version").unwrap(), 7);
}

async fn is_refused(found: i32) {
    let environment = Environment::embedded().on_mongodb();
    environment.catalog().await;
    set_version(&environment, found).await;
    let error = catalog::open(environment.catalog_address()).await.err();
    environment.remove().await;
    let Some(error) = error.filter(|e| e.kind() == StorageErrorKind::Misconfigured) else {
        panic!("not refused");
    };
    let text = error.to_string();
    assert!(text.contains("written by another version of maskline"));
    let expected = format!("found {found}, this build reads 7");
    assert!(text.contains(&expected), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_share_one_catalog() {
    let environment = Environment::embedded().on_mongodb();
    let opened = join_all((0..8).map(|_| catalog::open(environment.catalog_address()))).await;
    let mut known = vec![];
    if let Some(Ok(first)) = opened.first() {
        let job = recorded_job(&**first).await;
        for catalog in &opened {
            let catalog = catalog.as_ref().map_err(Clone::clone);
            known.push(match catalog {
                Ok(catalog) => catalog.job(job).await.map(|job| job.is_some()),
                Err(error) => Err(error),
            });
        }
    }
    environment.remove().await;
    assert_eq!(known, vec![Ok(true); 8]);
}
