//! Tests that concern MongoDB's servers alone.

use futures::future::join_all;
use maskline_storage::{StorageErrorKind, catalog};
use mongodb::bson::{Document, doc};

use crate::{environment::Environment, samples::recorded_job};

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
    let environment = Environment::embedded().on_mongodb();
    environment.catalog().await;
    let client = mongodb::Client::with_uri_str(environment.catalog_address())
        .await
        .unwrap();
    let database = client.default_database().expect("it names a database");
    let versions = database.collection::<Document>("versions");
    let newer = doc! { "$set": { "version": 7 } };
    let updated = versions.update_one(doc! { "_id": "catalog" }, newer).await;
    assert_eq!(updated.unwrap().modified_count, 1);
    let error = catalog::open(environment.catalog_address()).await.err();
    environment.remove().await;
    let Some(error) = error.filter(|e| e.kind() == StorageErrorKind::Misconfigured) else {
        panic!("not refused");
    };
    let text = error.to_string();
    assert!(text.contains("written by another version of maskline"));
    assert!(text.contains("found 7, this build reads 5"), "{text}");
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
