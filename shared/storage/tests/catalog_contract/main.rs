//! The contract of catalogs, tested with each of them. Each role has a file.
//!
//! MongoDB is the server at `MASKLINE_TEST_MONGODB`. Every test has a database of its own
//! there and drops it.

mod samples;

use maskline_storage::{StorageErrorKind, catalog};
use maskline_test_support::environment;

/// Makes two tests of each named function, one over SQLite and one over MongoDB. The function
/// takes an [`environment::Environment`].
macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            use crate::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&Environment::embedded()).await;
                }
            )*
        }

        mod mongodb {
            use crate::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let environment = Environment::embedded().on_mongodb();
                    environment.run_test(super::$test).await;
                }
            )*
        }
    };
}

mod candidates;
mod claims;
mod collections;
mod images;
mod jobs;
mod leases;
mod library;
mod mongodb_servers;
mod processes;
mod quotas;
mod removals;
mod sqlite_files;
mod studies;
mod versions;

#[tokio::test]
async fn an_address_of_no_known_kind_is_refused() {
    for url in ["postgres://localhost/db", "catalog.db", "", "sqlite:"] {
        let error = catalog::open(url).await.err().expect(url);
        assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{url}");
        assert!(error.to_string().contains("sqlite:PATH"), "{error}");
    }
}
