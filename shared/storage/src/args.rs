//! The flags that say where things live.

use std::{path::Path, sync::Arc};

use clap::Args;
use maskline_foundation::Address;
use maskline_runtime::Service;

use crate::{Catalog, ObjectStore, StorageError, catalog, objects};

const OBJECTS: &str = "file:";
const CATALOG: &str = "sqlite:";

/// Where things live.
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
    /// (default file: catalog.db in the data folder). One with a password only by the
    /// environment, or in a file that MASKLINE_CATALOG_FILE names
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
    /// Connects to both. `data` is the folder of what has no address of its own.
    pub async fn open(&self, data: &Path) -> Result<Stores, StorageError> {
        let objects = in_data(self.objects.trim(), OBJECTS, &data.join("objects"));
        let catalog = in_data(self.catalog.expose(), CATALOG, &data.join("catalog.db"));
        Ok(Stores {
            objects: objects::open(&objects).await?,
            catalog: catalog::open(&catalog).await?,
        })
    }
}

/// The address, with the data folder's place filled in where it names none.
fn in_data(address: &str, scheme: &str, place: &Path) -> String {
    if address == scheme {
        format!("{scheme}{}", place.display())
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

impl Stores {
    /// The service, ready only while both answer.
    pub fn probed(&self, service: Service) -> Service {
        let (objects, catalog) = (self.objects.clone(), self.catalog.clone());
        service
            .probe("objects", move || {
                let objects = objects.clone();
                async move { Ok(objects.ping().await?) }
            })
            .probe("catalog", move || {
                let catalog = catalog.clone();
                async move { Ok(catalog.ping().await?) }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn an_address_of_no_kind_says_what_is_one() {
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
            assert!(matches!(error, StorageError::Misconfigured(_)));
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
