//! Buckets of somebody else, which are only read.

use maskline_storage::{SourceBucket, StorageErrorKind};

use crate::{environment::Environment, samples::put_all};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_is_listed_from_any_name_on_and_its_objects_are_read() {
    let environment = Environment::embedded().on_s3();
    environment.run_test(listed_and_read).await;
}

async fn listed_and_read(environment: &Environment) {
    let store = environment.objects().await;
    let names: Vec<String> = (0..25)
        .map(|n| format!("faces/{:02}/{n:02}.jpg", n % 3))
        .collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    put_all(&store, &names).await;
    put_all(&store, &["other/1.jpg"]).await;
    names.sort_unstable();

    let address = environment.objects_address();
    let (place, options) = address.split_once('?').unwrap();
    let bucket = SourceBucket::open(&format!("{place}/faces/?{options}"))
        .await
        .unwrap();
    let (mut keys, mut after) = (vec![], None::<String>);
    loop {
        let page = bucket.list(after.as_deref(), 10).await.unwrap();
        keys.extend(page.iter().map(|object| object.key.clone()));
        assert!(page.iter().all(|object| object.size > 0));
        after = page.last().map(|object| object.key.clone());
        if page.len() < 10 {
            break;
        }
    }
    let below = bucket.prefix().strip_suffix("faces/").unwrap();
    let found: Vec<_> = keys
        .iter()
        .map(|key| key.strip_prefix(below).unwrap())
        .collect();
    assert_eq!(found, names);

    let again = SourceBucket::open(bucket.address()).await.unwrap();
    let object = again.open_object(&keys[3], None).await.unwrap().unwrap();
    let size = object.size();
    let etag = object.etag().map(str::to_owned);
    assert_eq!(object.read().await.unwrap().len() as u64, size);
    let unchanged = again.open_object(&keys[3], etag.as_deref()).await;
    assert!(etag.is_some() && unchanged.unwrap().is_none());
    let another = again.open_object(&keys[4], etag.as_deref()).await;
    assert!(another.unwrap().is_some());
    let missing = again.open_object("no/such/object", None).await;
    assert!(missing.err().unwrap().is_not_found());
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_not_made() {
    let environment = Environment::embedded().on_s3();
    let (_, options) = environment.objects_address().split_once('?').unwrap();
    let address = format!("s3://no-such-bucket-of-anybody/faces?{options}");
    let bucket = SourceBucket::open(&address).await.unwrap();
    for _ in 0..2 {
        let error = bucket.list(None, 10).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{error}");
    }
}
