//! Where the catalogs of the tests are.

use std::sync::Arc;

use maskline_storage::{Catalog, catalog};
use uuid::Uuid;

/// The catalog of one test, in a file or a database of its own.
pub struct Environment {
    pub url: String,
    pub _folder: Option<tempfile::TempDir>,
}

impl Environment {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("data").join("catalog.db");
        Self {
            url: format!("sqlite:{}", file.display()),
            _folder: Some(folder),
        }
    }

    pub fn mongodb() -> Self {
        let server = std::env::var("MASKLINE_TEST_MONGODB")
            .expect("MASKLINE_TEST_MONGODB is not set: run tests/run");
        let mut url = url::Url::parse(&server).expect("MASKLINE_TEST_MONGODB is an address");
        url.set_path(&format!("maskline-test-{}", Uuid::new_v4().simple()));
        Self {
            url: url.into(),
            _folder: None,
        }
    }

    pub async fn open(&self) -> Arc<dyn Catalog> {
        catalog::open(&self.url).await.expect("the catalog opens")
    }

    pub async fn drop_database(&self) {
        let client = mongodb::Client::with_uri_str(&self.url).await;
        let client = client.expect("the test's own address");
        let database = client.default_database().expect("it names a database");
        database.drop().await.expect("the database is dropped");
    }
}
