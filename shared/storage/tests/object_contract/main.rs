//! The contract of object stores, tested with each of them.
//!
//! S3 is the server and the bucket at `MASKLINE_TEST_S3`, an address such as
//! `s3://bucket?endpoint=http://…`. The credentials are in `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`. Every test has a prefix of its own there and removes its objects.

mod samples;

use maskline_storage::StorageErrorKind;
use maskline_test_support::environment;

/// Makes two tests of each named function, one over a folder and one over S3. The function
/// takes an [`environment::Environment`].
macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod folder {
            use crate::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&Environment::embedded()).await;
                }
            )*
        }

        mod s3 {
            use crate::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let environment = Environment::embedded().on_s3();
                    environment.run_test(super::$test).await;
                }
            )*
        }
    };
}

mod folders;
mod listing;
mod objects;
mod s3_servers;
mod sources;
mod uploads;

#[tokio::test]
async fn an_address_of_no_known_kind_is_refused() {
    for address in ["gs://bucket", "objects", "", "file:"] {
        let error = maskline_storage::objects::open(address)
            .await
            .err()
            .expect(address);
        assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{address}");
        assert!(error.to_string().contains("file:FOLDER"), "{error}");
    }
}
