//! Where the objects of the tests are.

use std::sync::Arc;

use maskline_storage::{ObjectStore, objects};
use url::Url;
use uuid::Uuid;

/// The object store of one test: a folder, or a prefix of its own in the bucket.
pub struct Environment {
    pub address: String,
    _folder: Option<tempfile::TempDir>,
}

impl Environment {
    pub fn folder() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("data").join("objects");
        Self {
            address: format!("file:{}", root.display()),
            _folder: Some(folder),
        }
    }

    pub fn s3() -> Self {
        let mut address = s3_address();
        address.set_path(&format!("test/{}", Uuid::new_v4().simple()));
        Self {
            address: address.into(),
            _folder: None,
        }
    }

    pub async fn open(&self) -> Arc<dyn ObjectStore> {
        let store = objects::open(&self.address).await;
        store.expect("the object store opens")
    }
}

/// The test server's address.
pub fn s3_address() -> Url {
    let address =
        std::env::var("MASKLINE_TEST_S3").expect("MASKLINE_TEST_S3 is not set: run tests/run");
    Url::parse(&address).expect("MASKLINE_TEST_S3 is an address")
}
