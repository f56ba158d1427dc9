//! Tests that concern S3's servers alone.

use std::{
    process::{Command, Output},
    time::Duration,
};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_s3::{
    Client, Config,
    config::{BehaviorVersion, Region},
};
use bytes::Bytes;
use futures::future::join_all;
use maskline_storage::objects;
use uuid::Uuid;

use crate::{
    environment::{self, Environment},
    samples::{key, put_all},
};

const ADDRESS: &str = "MASKLINE_TEST_OBJECTS_OF_CHILD";
const OPENED: &str = "it opened";

/// Opens an address in a process of its own, because credentials come from the environment.
/// Returns the kind of the error and its text.
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
    let outcome = stdout.lines().find_map(|line| line.split_once("opening: "));
    let Some((kind, text)) = outcome.and_then(|(_, outcome)| outcome.split_once(": ")) else {
        let stderr = String::from_utf8_lossy(&stderr);
        panic!("the child printed nothing: {stdout}{stderr}");
    };
    (kind.to_owned(), text.to_owned())
}

/// It is also the child that [`open_with`] starts.
#[tokio::test]
async fn credentials_come_from_the_environment() {
    if let Ok(address) = std::env::var(ADDRESS) {
        match objects::open(&address).await {
            Ok(_) => println!("opening: {OPENED}: {address}"),
            Err(error) => println!("opening: {}: {error:#}", error.kind().as_str()),
        }
        return;
    }
    let (kind, text) = open_with(environment::server("MASKLINE_TEST_S3").as_str(), &[]);
    assert_eq!(kind, OPENED, "{text}");
}

#[test]
fn wrong_credentials_are_a_misconfiguration() {
    let secret = [("AWS_SECRET_ACCESS_KEY", Some("hunter2"))];
    let (kind, text) = open_with(environment::server("MASKLINE_TEST_S3").as_str(), &secret);
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
    let (kind, text) = open_with(environment::server("MASKLINE_TEST_S3").as_str(), &none);
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
    let (kind, text) = open_with(
        environment::server("MASKLINE_TEST_S3").as_str(),
        &environment,
    );
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
    let mut address = environment::server("MASKLINE_TEST_S3");
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

/// The keys below `prefix` with uploads whose parts are on the server.
async fn in_parts(prefix: &str) -> Vec<String> {
    let address = environment::server("MASKLINE_TEST_S3");
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
    let environment = Environment::embedded().on_s3();
    let store = environment.objects().await;
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
    removed.expect("the server still has its parts");
}
