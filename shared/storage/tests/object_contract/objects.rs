//! Single objects.

use bytes::Bytes;
use futures::future::join_all;
use maskline_storage::StorageError;

use crate::{environment::Environment, samples::key};

contract! {
    an_object_comes_back_as_it_was,
    an_empty_object_is_an_object,
    an_object_of_eight_megabytes_comes_back_as_it_was,
    what_is_not_there_is_not_found,
    an_object_can_be_put_again,
    of_many_who_put_one_key_all_succeed,
    a_deleted_object_is_gone,
    a_folder_of_objects_is_no_object,
    what_one_puts_another_gets,
    an_object_is_located_under_its_key,
    it_answers_a_ping,
}

async fn an_object_comes_back_as_it_was(environment: &Environment) {
    let store = environment.objects().await;
    let key = key("raw/ab/abc=1_2.jpg");
    let bytes = Bytes::from_static(b"\xff\xd8\x00\r\n\xff");
    store.put(&key, bytes.clone()).await.unwrap();
    assert_eq!(store.get(&key).await, Ok(bytes));
    assert_eq!(store.size(&key).await, Ok(Some(6)));
}

async fn an_empty_object_is_an_object(environment: &Environment) {
    let store = environment.objects().await;
    let key = key("empty");
    store.put(&key, Bytes::new()).await.unwrap();
    assert_eq!(store.get(&key).await, Ok(Bytes::new()));
    assert_eq!(store.size(&key).await, Ok(Some(0)));
    assert_eq!(store.list("", None, 10).await, Ok(vec![key]));
}

async fn an_object_of_eight_megabytes_comes_back_as_it_was(environment: &Environment) {
    let store = environment.objects().await;
    let key = key("datasets/1f/train-00000.parquet");
    let noise = (0..8_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    let bytes: Bytes = noise.collect::<Vec<u8>>().into();
    store.put(&key, bytes.clone()).await.unwrap();
    assert_eq!(store.size(&key).await, Ok(Some(8 << 20)));
    let found = store.get(&key).await.unwrap();
    assert!(found == bytes, "{} bytes that differ", found.len());
}

async fn what_is_not_there_is_not_found(environment: &Environment) {
    let store = environment.objects().await;
    let absent = key("raw/ab/absent");
    let not_found = StorageError::not_found(store.locate(&absent));
    assert_eq!(store.get(&absent).await, Err(not_found));
    assert_eq!(store.size(&absent).await, Ok(None));
    assert_eq!(store.list("", None, 10).await, Ok(vec![]));
    assert_eq!(store.list("raw", None, 10).await, Ok(vec![]));
}

async fn an_object_can_be_put_again(environment: &Environment) {
    let store = environment.objects().await;
    let key = key("runs/1/checkpoint");
    for bytes in ["first", "first", "another length", ""] {
        store.put(&key, Bytes::from(bytes)).await.unwrap();
        assert_eq!(store.get(&key).await, Ok(Bytes::from(bytes)));
    }
}

async fn of_many_who_put_one_key_all_succeed(environment: &Environment) {
    let (one, other) = (environment.objects().await, environment.objects().await);
    let key = key("raw/ab/same");
    let bytes = Bytes::from(vec![7; 20_000]);
    let puts = (0..16).map(|number| {
        let store = if number % 2 == 0 { &one } else { &other };
        let (store, key, bytes) = (store.clone(), key.clone(), bytes.clone());
        tokio::spawn(async move { store.put(&key, bytes).await })
    });
    for put in join_all(puts).await {
        assert_eq!(put.unwrap(), Ok(()));
    }
    assert_eq!(one.get(&key).await, Ok(bytes));
    assert_eq!(one.list("", None, 10).await, Ok(vec![key]));
}

async fn a_deleted_object_is_gone(environment: &Environment) {
    let store = environment.objects().await;
    let [one, other] = [key("a/one"), key("a/other")];
    for key in [&one, &other] {
        store.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    store.delete(&one).await.unwrap();
    store.delete(&one).await.unwrap();
    store.delete(&key("b/never/was")).await.unwrap();
    assert_eq!(store.size(&one).await, Ok(None));
    assert_eq!(store.list("a", None, 10).await, Ok(vec![other]));
}

async fn a_folder_of_objects_is_no_object(environment: &Environment) {
    let store = environment.objects().await;
    let inside = key("a/b/c");
    store.put(&inside, Bytes::from_static(b"x")).await.unwrap();
    for key in [key("a/b"), key("a"), key("a/b/c/d")] {
        let not_found = StorageError::not_found(store.locate(&key));
        assert_eq!(store.get(&key).await, Err(not_found), "{key}");
        assert_eq!(store.size(&key).await, Ok(None), "{key}");
    }
    store.delete(&key("a/b")).await.unwrap();
    assert_eq!(store.size(&inside).await, Ok(Some(1)));
}

async fn what_one_puts_another_gets(environment: &Environment) {
    let (one, other) = (environment.objects().await, environment.objects().await);
    let key = key("raw/ab/abc");
    let bytes = Bytes::from_static(b"bytes");
    one.put(&key, bytes.clone()).await.unwrap();
    assert_eq!(other.get(&key).await, Ok(bytes));
}

async fn an_object_is_located_under_its_key(environment: &Environment) {
    let store = environment.objects().await;
    let located = store.locate(&key("models/1/report.html"));
    assert!(located.ends_with("/models/1/report.html"), "{located}");
    match environment.objects_address().strip_prefix("file:") {
        Some(root) => assert!(located.starts_with(root), "{located}"),
        None => assert!(located.starts_with("s3://"), "{located}"),
    }
}

async fn it_answers_a_ping(environment: &Environment) {
    assert_eq!(environment.objects().await.ping().await, Ok(()));
}
