//! The flags that say where the stores are.

use std::{path::Path, sync::Arc};

use clap::Args;
use maskline_foundation::{Address, private_folder};

use crate::{
    catalog::{self, Catalog},
    error::StorageError,
    objects::{self, ObjectStore},
};

const OBJECTS: &str = "file:";
const CATALOG: &str = "sqlite:";

/// The addresses of the object store and of the catalog.
#[derive(Debug, Clone, Args)]
pub struct StorageArgs {
    /// The object store: s3://BUCKET[/PREFIX][?endpoint=URL], or file:[FOLDER]
    /// (default folder: objects in the data folder)
    #[arg(
        long,
        env = "MASKLINE_OBJECTS",
        value_name = "URL",
        default_value = OBJECTS,
        hide_default_value = true
    )]
    pub objects: String,
    /// The catalog: mongodb://USER:PASSWORD@HOST:PORT/DATABASE, or sqlite:[FILE]
    /// (default file: catalog.db in the data folder). An address with a password must come
    /// from the environment, or from a file that MASKLINE_CATALOG_FILE names
    #[arg(
        long,
        env = "MASKLINE_CATALOG",
        value_name = "URL",
        default_value = CATALOG,
        hide_default_value = true,
        hide_env_values = true
    )]
    pub catalog: Address,
}

impl Default for StorageArgs {
    fn default() -> Self {
        Self {
            objects: OBJECTS.to_owned(),
            catalog: CATALOG.into(),
        }
    }
}

impl StorageArgs {
    /// Connects to both stores. `data` is the folder for what has no address of its own.
    pub async fn open(&self, data: &Path) -> Result<Stores, StorageError> {
        Ok(Stores {
            objects: self.open_objects(data).await?,
            catalog: self.open_catalog(data).await?,
        })
    }

    /// Connects to the object store alone, see [`StorageArgs::open`].
    pub async fn open_objects(&self, data: &Path) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let address = in_data(self.objects.trim(), OBJECTS, data, "objects");
        objects::open(&address).await
    }

    /// Connects to the catalog alone, see [`StorageArgs::open`].
    pub async fn open_catalog(&self, data: &Path) -> Result<Arc<dyn Catalog>, StorageError> {
        let address = in_data(self.catalog.expose(), CATALOG, data, "catalog.db");
        catalog::open(&address).await
    }
}

/// The address, completed with `name` in the data folder if it is only a scheme.
fn in_data(address: &str, scheme: &str, data: &Path, name: &str) -> String {
    if address == scheme {
        private_folder::keep(data);
        format!("{scheme}{}", data.join(name).display())
    } else {
        address.to_owned()
    }
}

/// The object store and the catalog.
#[derive(Clone)]
pub struct Stores {
    pub objects: Arc<dyn ObjectStore>,
    pub catalog: Arc<dyn Catalog>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StorageErrorKind;

    #[tokio::test]
    async fn without_addresses_everything_lies_in_the_data_folder() {
        let data = tempfile::tempdir().unwrap();
        let stores = StorageArgs::default().open(data.path()).await.unwrap();
        stores.objects.ping().await.unwrap();
        stores.catalog.ping().await.unwrap();
        assert!(data.path().join("objects").is_dir());
        assert!(data.path().join("catalog.db").is_file());
    }

    #[tokio::test]
    async fn one_store_is_opened_without_the_other() {
        let data = tempfile::tempdir().unwrap();
        let args = StorageArgs::default();
        args.open_objects(data.path()).await.unwrap();
        assert!(data.path().join("objects").is_dir());
        assert!(!data.path().join("catalog.db").exists());

        let data = tempfile::tempdir().unwrap();
        args.open_catalog(data.path()).await.unwrap();
        assert!(data.path().join("catalog.db").is_file());
        assert!(!data.path().join("objects").exists());
    }

    #[tokio::test]
    async fn an_address_of_an_unknown_kind_is_refused_with_an_example() {
        let data = tempfile::tempdir().unwrap();
        let cases = [
            ("ftp://x/", CATALOG, "s3://"),
            (OBJECTS, "postgres://x/", "mongodb://"),
        ];
        for (objects, catalog, expected) in cases {
            let args = StorageArgs {
                objects: objects.to_owned(),
                catalog: catalog.into(),
            };
            let error = args.open(data.path()).await.err().unwrap();
            assert_eq!(error.kind(), StorageErrorKind::Misconfigured);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let args = StorageArgs {
            catalog: "mongodb://me:hunter2@h/".into(),
            ..StorageArgs::default()
        };
        assert!(!format!("{args:?}").contains("hunter2"));
    }
}
