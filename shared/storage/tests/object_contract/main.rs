//! The contract of object stores, tested with each of them.
//!
//! S3 is the server and bucket at `MASKLINE_TEST_S3`, an address with `endpoint`
//! (`s3://bucket?endpoint=http://…`), with credentials in `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`. Every test has a prefix of its own there.

mod environment;
mod samples;

/// Makes two tests of each function named, which takes an [`environment::Environment`]:
/// one over a folder and one over S3.
macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod folder {
            use crate::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&Environment::folder()).await;
                }
            )*
        }

        mod s3 {
            use crate::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&Environment::s3()).await;
                }
            )*
        }
    };
}

mod folders;
mod listing;
mod objects;
mod s3_servers;
mod uploads;

use maskline_storage::StorageErrorKind;

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
