//! The contract of catalogs, tested with each of them. Each role has a file.
//!
//! MongoDB is the server at `MASKLINE_TEST_MONGODB`. Every test has a database of its own
//! there and drops it.

mod environment;
mod samples;

/// Makes two tests of each function named, which takes an [`environment::Environment`]:
/// one over SQLite and one over MongoDB.
macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            use crate::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&Environment::sqlite()).await;
                }
            )*
        }

        mod mongodb {
            use std::panic::{AssertUnwindSafe, resume_unwind};

            use futures::FutureExt;

            use crate::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let environment = Environment::mongodb();
                    let outcome = AssertUnwindSafe(super::$test(&environment)).catch_unwind().await;
                    environment.drop_database().await;
                    if let Err(panic) = outcome {
                        resume_unwind(panic);
                    }
                }
            )*
        }
    };
}

mod candidates;
mod images;
mod jobs;
mod leases;
mod library;
mod mongodb_servers;
mod processes;
mod sqlite_files;

use maskline_storage::{StorageErrorKind, catalog};

#[tokio::test]
async fn an_address_of_no_known_kind_is_refused() {
    for url in ["postgres://localhost/db", "catalog.db", "", "sqlite:"] {
        let error = catalog::open(url).await.err().expect(url);
        assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{url}");
        assert!(error.to_string().contains("sqlite:PATH"), "{error}");
    }
}
