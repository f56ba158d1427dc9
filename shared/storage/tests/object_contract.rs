//! What every object store owes its callers, tried on each of them.
//!
//! S3 is the server and bucket at `MASKLINE_TEST_S3`, an address with `endpoint`
//! (`s3://bucket?endpoint=http://…`), with credentials in `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`. Every test has a prefix of its own there.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
    sync::Arc,
};

use bytes::Bytes;
use futures::future::join_all;
use maskline_messages::ObjectKey;
use maskline_storage::{ObjectStore, StorageError, objects};
use url::Url;
use uuid::Uuid;

/// Where one test's objects live.
struct Place {
    address: String,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    fn folder() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("data").join("objects");
        Self {
            address: format!("file:{}", root.display()),
            _folder: Some(folder),
        }
    }

    fn s3() -> Self {
        let mut address = s3_address();
        address.set_path(&format!("test/{}", Uuid::new_v4().simple()));
        Self {
            address: address.into(),
            _folder: None,
        }
    }

    async fn open(&self) -> Arc<dyn ObjectStore> {
        let store = objects::open(&self.address).await;
        store.expect("the object store opens")
    }
}

fn s3_address() -> Url {
    let address =
        std::env::var("MASKLINE_TEST_S3").expect("MASKLINE_TEST_S3 is not set: run tests/run");
    Url::parse(&address).expect("MASKLINE_TEST_S3 is an address")
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod folder {
            use super::Place;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&Place::folder()).await;
                }
            )*
        }

        mod s3 {
            use super::Place;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&Place::s3()).await;
                }
            )*
        }
    };
}

contract! {
    an_object_comes_back_as_it_was,
    an_empty_object_is_an_object,
    an_object_of_eight_megabytes_comes_back_as_it_was,
    an_object_in_pieces_is_there_whole_when_it_is_finished,
    an_upload_replaces_what_is_there_and_one_that_is_dropped_does_not,
    what_is_not_there_is_not_found,
    an_object_can_be_put_again,
    of_many_who_put_one_key_all_succeed,
    a_deleted_object_is_gone,
    a_folder_of_objects_is_no_object,
    a_listing_is_of_whole_segments,
    nothing_is_listed_outside_of_the_store,
    a_listing_comes_in_sorted_pages,
    a_listing_comes_in_the_order_of_the_keys,
    what_one_puts_another_gets,
    an_object_is_located_under_its_key,
    it_answers_a_ping,
}

async fn an_object_comes_back_as_it_was(place: &Place) {
    let store = place.open().await;
    let key = key("raw/ab/abc=1_2.jpg");
    let bytes = Bytes::from_static(b"\xff\xd8\x00\r\n\xff");
    store.put(&key, bytes.clone()).await.unwrap();
    assert_eq!(store.get(&key).await, Ok(bytes));
    assert_eq!(store.size(&key).await, Ok(Some(6)));
}

async fn an_empty_object_is_an_object(place: &Place) {
    let store = place.open().await;
    let key = key("empty");
    store.put(&key, Bytes::new()).await.unwrap();
    assert_eq!(store.get(&key).await, Ok(Bytes::new()));
    assert_eq!(store.size(&key).await, Ok(Some(0)));
    assert_eq!(store.list("", None, 10).await, Ok(vec![key]));
}

async fn an_object_of_eight_megabytes_comes_back_as_it_was(place: &Place) {
    let store = place.open().await;
    let key = key("datasets/1f/train-00000.parquet");
    let noise = (0..8_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    let bytes: Bytes = noise.collect::<Vec<u8>>().into();
    store.put(&key, bytes.clone()).await.unwrap();
    assert_eq!(store.size(&key).await, Ok(Some(8 << 20)));
    let found = store.get(&key).await.unwrap();
    assert!(found == bytes, "{} bytes that differ", found.len());
}

/// Smaller and larger than the parts that S3 takes, in pieces of another size.
async fn an_object_in_pieces_is_there_whole_when_it_is_finished(place: &Place) {
    let store = place.open().await;
    for pieces in [0, 1, 5, 13] {
        let pieces = (0..pieces).map(|piece| Bytes::from(vec![piece; 1_000_003]));
        let pieces: Vec<Bytes> = pieces.collect();
        let key = key(&format!("datasets/pieces/{}.parquet", pieces.len()));
        let mut upload = store.upload(&key).await.expect("it begins");
        for piece in &pieces {
            upload.write(piece.clone()).await.expect("it is taken");
        }
        assert_eq!(store.size(&key).await.expect("an answer"), None);
        upload.finish().await.expect("it is finished");
        let got = store.get(&key).await.expect("it is there");
        assert!(got == pieces.concat(), "{key} differs");
    }
}

async fn an_upload_replaces_what_is_there_and_one_that_is_dropped_does_not(place: &Place) {
    let store = place.open().await;
    let key = key("datasets/pieces/again.parquet");
    let piece = |byte: u8| Bytes::from(vec![byte; 6_000_000]);
    for byte in [1, 2] {
        let mut upload = store.upload(&key).await.expect("it begins");
        upload.write(piece(byte)).await.expect("it is taken");
        upload.finish().await.expect("it is finished");
    }
    let mut dropped = store.upload(&key).await.expect("it begins");
    dropped.write(piece(3)).await.expect("it is taken");
    drop(dropped);
    let got = store.get(&key).await.expect("it is there");
    assert!(got == piece(2), "not what was finished last");
    let listed = store.list("datasets", None, 10).await.expect("it answers");
    assert_eq!(names_of(&listed), [key.as_str()]);
}

async fn what_is_not_there_is_not_found(place: &Place) {
    let store = place.open().await;
    let absent = key("raw/ab/absent");
    let not_found = StorageError::NotFound(store.locate(&absent));
    assert_eq!(store.get(&absent).await, Err(not_found));
    assert_eq!(store.size(&absent).await, Ok(None));
    assert_eq!(store.list("", None, 10).await, Ok(vec![]));
    assert_eq!(store.list("raw", None, 10).await, Ok(vec![]));
}

async fn an_object_can_be_put_again(place: &Place) {
    let store = place.open().await;
    let key = key("runs/1/checkpoint");
    for bytes in ["first", "first", "another length", ""] {
        store.put(&key, Bytes::from(bytes)).await.unwrap();
        assert_eq!(store.get(&key).await, Ok(Bytes::from(bytes)));
    }
}

async fn of_many_who_put_one_key_all_succeed(place: &Place) {
    let (one, other) = (place.open().await, place.open().await);
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

async fn a_deleted_object_is_gone(place: &Place) {
    let store = place.open().await;
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

async fn a_folder_of_objects_is_no_object(place: &Place) {
    let store = place.open().await;
    let inside = key("a/b/c");
    store.put(&inside, Bytes::from_static(b"x")).await.unwrap();
    for key in [key("a/b"), key("a"), key("a/b/c/d")] {
        let not_found = StorageError::NotFound(store.locate(&key));
        assert_eq!(store.get(&key).await, Err(not_found), "{key}");
        assert_eq!(store.size(&key).await, Ok(None), "{key}");
    }
    store.delete(&key("a/b")).await.unwrap();
    assert_eq!(store.size(&inside).await, Ok(Some(1)));
}

async fn a_listing_is_of_whole_segments(place: &Place) {
    let store = place.open().await;
    let names = ["a/1f/x", "a/1f/y/z", "a/1f2/x", "a/1f-2", "b/1f/x", "c"];
    put_all(&store, &names).await;
    let cases: [(&str, &[&str]); 6] = [
        ("a/1f", &["a/1f/x", "a/1f/y/z"]),
        ("a/1f/", &["a/1f/x", "a/1f/y/z"]),
        ("a/1f/y", &["a/1f/y/z"]),
        ("b", &["b/1f/x"]),
        // An object is not below itself.
        ("c", &[]),
        ("a/1", &[]),
    ];
    for (prefix, expected) in cases {
        let listed = store.list(prefix, None, 100).await.unwrap();
        assert_eq!(names_of(&listed), expected, "below {prefix}");
    }
    assert_eq!(store.list("", None, 100).await.unwrap().len(), names.len());
}

async fn nothing_is_listed_outside_of_the_store(place: &Place) {
    let store = place.open().await;
    put_all(&store, &["a/b"]).await;
    for prefix in [
        "..",
        "../",
        "a/..",
        "a/../..",
        "./a",
        ".",
        "a//b",
        "~unfinished",
        "a\\b",
    ] {
        assert_eq!(store.list(prefix, None, 100).await, Ok(vec![]), "{prefix}");
    }
}

async fn a_listing_comes_in_sorted_pages(place: &Place) {
    let store = place.open().await;
    let names: BTreeSet<String> = (0..25).map(|n| format!("raw/{}/{n}", n % 4)).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    put_all(&store, &all).await;
    let mut found: Vec<ObjectKey> = vec![];
    let mut pages = vec![];
    loop {
        let page = store.list("raw", found.last(), 10).await.unwrap();
        pages.push(page.len());
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(pages, [10, 10, 5, 0]);
    assert_eq!(names_of(&found), all);
    let between = store.list("raw", Some(&key("raw/2/0")), 1).await.unwrap();
    assert_eq!(names_of(&between), ["raw/2/10"], "a key that is not there");
    assert_eq!(store.list("raw", None, 0).await, Ok(vec![]));
}

async fn a_listing_comes_in_the_order_of_the_keys(place: &Place) {
    let store = place.open().await;
    // `-` and `.` come before `/`, and so before what lies in the folder.
    let sorted = ["p/a-b/x", "p/a.b", "p/a/x", "p/a0"];
    put_all(&store, &sorted).await;
    let listed = store.list("p", None, 10).await.unwrap();
    assert_eq!(names_of(&listed), sorted);
    for (number, name) in sorted.iter().enumerate() {
        let after = store.list("p", Some(&key(name)), 10).await.unwrap();
        assert_eq!(names_of(&after), sorted[number + 1..], "after {name}");
    }
}

async fn what_one_puts_another_gets(place: &Place) {
    let (one, other) = (place.open().await, place.open().await);
    let key = key("raw/ab/abc");
    let bytes = Bytes::from_static(b"bytes");
    one.put(&key, bytes.clone()).await.unwrap();
    assert_eq!(other.get(&key).await, Ok(bytes));
}

async fn an_object_is_located_under_its_key(place: &Place) {
    let store = place.open().await;
    let located = store.locate(&key("models/1/report.html"));
    assert!(located.ends_with("/models/1/report.html"), "{located}");
    match place.address.strip_prefix("file:") {
        Some(root) => assert!(located.starts_with(root), "{located}"),
        None => assert!(located.starts_with("s3://"), "{located}"),
    }
}

async fn it_answers_a_ping(place: &Place) {
    assert_eq!(place.open().await.ping().await, Ok(()));
}

// What is asked of one of them only

#[tokio::test]
async fn an_address_of_no_known_kind_is_refused() {
    for address in ["gs://bucket", "objects", "", "file:"] {
        let error = objects::open(address).await.err().expect(address);
        assert!(matches!(error, StorageError::Misconfigured(_)), "{address}");
        assert!(error.to_string().contains("file:FOLDER"), "{error}");
    }
}

mod folders {
    use std::{
        fs::{self, File},
        path::PathBuf,
        time::{Duration, SystemTime},
    };

    use super::*;

    fn root(place: &Place) -> PathBuf {
        place
            .address
            .strip_prefix("file:")
            .expect("its kind")
            .into()
    }

    #[tokio::test]
    async fn a_place_that_can_not_be_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let address = format!("file:{}", folder.path().join("file/objects").display());
        let error = objects::open(&address).await.err().expect("it is refused");
        assert!(matches!(error, StorageError::Misconfigured(_)), "{error}");
        assert!(error.to_string().contains("--objects file:"), "{error}");
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_answers_no_ping() {
        let place = Place::folder();
        let store = place.open().await;
        fs::remove_dir_all(root(&place)).unwrap();
        assert!(store.ping().await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_key_is_not_listed() {
        let place = Place::folder();
        let store = place.open().await;
        put_all(&store, &["a/b"]).await;
        for stranger in ["a/b c", "a/~b", "notes (2).txt"] {
            fs::write(root(&place).join(stranger), "x").unwrap();
        }
        let listed = store.list("", None, 10).await.unwrap();
        assert_eq!(names_of(&listed), ["a/b"]);
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_swept_away_after_an_hour() {
        let place = Place::folder();
        place.open().await;
        let unfinished = root(&place).join("~unfinished");
        let [fresh, abandoned] = ["fresh", "abandoned"].map(|name| unfinished.join(name));
        fs::write(&fresh, "x").unwrap();
        let old = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
        let file = File::create(&abandoned).unwrap();
        file.set_modified(old).unwrap();
        place.open().await;
        assert!(fresh.exists(), "somebody may be writing it");
        assert!(!abandoned.exists());
    }
}

mod s3_servers {
    use std::time::Duration;

    use aws_config::environment::EnvironmentVariableCredentialsProvider;
    use aws_sdk_s3::{
        Client, Config,
        config::{BehaviorVersion, Region},
    };

    use super::*;

    const ADDRESS: &str = "MASKLINE_TEST_OBJECTS_OF_CHILD";
    const OPENED: &str = "it opened";

    /// Opens an address in a process of its own, because credentials come from the
    /// environment; returns the kind of the error and its text.
    fn open_with(address: &str, environment: &[(&str, Option<&str>)]) -> (String, String) {
        let me = std::env::current_exe().expect("the test's own file");
        let mut child = Command::new(me);
        child
            .args(["--exact", "--nocapture"])
            .arg("s3_servers::credentials_come_from_the_environment")
            .env(ADDRESS, address);
        for (name, value) in environment {
            match value {
                Some(value) => child.env(name, value),
                None => child.env_remove(name),
            };
        }
        let Output { stdout, stderr, .. } = child.output().expect("the child starts");
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        let told = stdout.lines().find_map(|line| line.split_once("told: "));
        let Some((kind, text)) = told.and_then(|(_, told)| told.split_once(": ")) else {
            let stderr = String::from_utf8_lossy(&stderr);
            panic!("the child told nothing: {stdout}{stderr}");
        };
        (kind.to_owned(), text.to_owned())
    }

    /// It is also the child that [`open_with`] starts.
    #[tokio::test]
    async fn credentials_come_from_the_environment() {
        if let Ok(address) = std::env::var(ADDRESS) {
            match objects::open(&address).await {
                Ok(_) => println!("told: {OPENED}: {address}"),
                Err(error) => println!("told: {}: {error}", error.kind()),
            }
            return;
        }
        let (kind, text) = open_with(s3_address().as_str(), &[]);
        assert_eq!(kind, OPENED, "{text}");
    }

    #[test]
    fn wrong_credentials_are_a_misconfiguration() {
        let secret = [("AWS_SECRET_ACCESS_KEY", Some("hunter2"))];
        let (kind, text) = open_with(s3_address().as_str(), &secret);
        assert_eq!(kind, "misconfigured", "{text}");
        assert!(text.contains("AWS_SECRET_ACCESS_KEY"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn missing_credentials_are_a_misconfiguration() {
        let none = [
            ("AWS_ACCESS_KEY_ID", None),
            ("AWS_SECRET_ACCESS_KEY", None),
            ("AWS_SHARED_CREDENTIALS_FILE", Some("/no/such/file")),
            ("AWS_CONFIG_FILE", Some("/no/such/file")),
        ];
        let (kind, text) = open_with(s3_address().as_str(), &none);
        assert_eq!(kind, "misconfigured", "{text}");
        assert!(text.contains("set AWS_ACCESS_KEY_ID"), "{text}");
    }

    #[test]
    fn credentials_come_from_a_file_where_the_environment_has_none() {
        let given = |name| std::env::var(name).expect("the test server's");
        let (id, secret) = (given("AWS_ACCESS_KEY_ID"), given("AWS_SECRET_ACCESS_KEY"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let profile =
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        std::fs::write(file.path(), profile).unwrap();
        let environment = [
            ("AWS_ACCESS_KEY_ID", None),
            ("AWS_SECRET_ACCESS_KEY", None),
            ("AWS_SHARED_CREDENTIALS_FILE", file.path().to_str()),
        ];
        let (kind, text) = open_with(s3_address().as_str(), &environment);
        assert_eq!(kind, OPENED, "{text}");
    }

    #[test]
    fn a_server_that_does_not_answer_is_unavailable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        let address = format!("s3://faces?endpoint=http://{nobody}");
        let given = [
            ("AWS_ACCESS_KEY_ID", Some("me")),
            ("AWS_SECRET_ACCESS_KEY", Some("hunter2")),
        ];
        let (kind, text) = open_with(&address, &given);
        assert_eq!(kind, "unavailable", "{text}");
        assert!(text.contains(&nobody.to_string()), "{text}");
    }

    #[tokio::test]
    async fn a_missing_bucket_is_made() {
        let mut address = s3_address();
        let bucket = format!(
            "maskline-test-{}",
            &Uuid::new_v4().simple().to_string()[..12]
        );
        address.set_host(Some(&bucket)).expect("a host");
        address.set_path("");
        let opened = join_all((0..4).map(|_| objects::open(address.as_str()))).await;
        for store in opened {
            let store = store.expect("it opens");
            put_all(&store, &["a/b"]).await;
            assert_eq!(store.locate(&key("a/b")), format!("s3://{bucket}/a/b"));
        }
    }

    /// The keys below `prefix` of which the server holds parts.
    async fn in_parts(prefix: &str) -> Vec<String> {
        let address = s3_address();
        let mut query = address.query_pairs();
        let endpoint = query.find_map(|(name, value)| (name == "endpoint").then_some(value));
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint.expect("its endpoint"))
            .force_path_style(true)
            .credentials_provider(EnvironmentVariableCredentialsProvider::new());
        let listed = Client::from_conf(config.build())
            .list_multipart_uploads()
            .bucket(address.host_str().expect("a bucket"))
            .prefix(prefix)
            .send();
        let listed = listed.await.expect("the server answers");
        let keys = listed.uploads().iter().filter_map(|upload| upload.key());
        keys.map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn the_parts_of_a_dropped_upload_are_removed() {
        let place = Place::s3();
        let store = place.open().await;
        let key = key("datasets/dropped.parquet");
        let located = store.locate(&key);
        let (_, name) = located[5..].split_once('/').expect("a bucket and a name");
        let mut upload = store.upload(&key).await.expect("it begins");
        let piece = Bytes::from(vec![1; 6_000_000]);
        upload.write(piece).await.expect("it is taken");
        assert_eq!(in_parts(name).await, [name]);
        drop(upload);
        let removed = async {
            while !in_parts(name).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let removed = tokio::time::timeout(Duration::from_secs(60), removed).await;
        removed.expect("the server still holds its parts");
    }
}

// Samples

fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

fn names_of(keys: &[ObjectKey]) -> Vec<&str> {
    keys.iter().map(ObjectKey::as_str).collect()
}

async fn put_all(store: &Arc<dyn ObjectStore>, names: &[&str]) {
    for name in names {
        let bytes = Bytes::copy_from_slice(name.as_bytes());
        store.put(&key(name), bytes).await.unwrap();
    }
}
