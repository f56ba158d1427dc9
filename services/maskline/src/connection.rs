//! The flags that say where broker, objects and catalog are, and the connections to them.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use clap::Args;
use maskline_runtime::{Broker, BrokerArgs, Sender};
use maskline_storage::{Catalog, StorageArgs, Stores};

/// The flags of a command that works on the data of the services. They and their
/// environment variables are the same as the services'.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

impl ConnectionArgs {
    /// The data folder.
    pub(crate) fn data(&self) -> &Path {
        &self.broker.data
    }

    /// Opens the object store and the catalog.
    pub(crate) async fn stores(&self) -> Result<Stores> {
        Ok(self.storage.open(&self.broker.data).await?)
    }

    /// Connects to the broker.
    pub(crate) async fn broker(&self) -> Result<Arc<dyn Broker>> {
        Ok(self.broker.open_broker().await?)
    }

    /// Opens the stores and connects to the broker.
    pub(crate) async fn connect(&self) -> Result<Connections> {
        let stores = self.stores().await?;
        let broker = self.broker().await?;
        Ok(Connections { stores, broker })
    }
}

/// Open stores and a connection to the broker.
pub(crate) struct Connections {
    stores: Stores,
    broker: Arc<dyn Broker>,
}

impl Connections {
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    pub(crate) fn catalog(&self) -> &dyn Catalog {
        self.stores.catalog.as_ref()
    }

    pub(crate) fn broker(&self) -> &dyn Broker {
        self.broker.as_ref()
    }

    pub(crate) fn sender(&self) -> Sender {
        Sender::new(self.broker.clone())
    }

    /// Closes the connection to the broker.
    pub(crate) async fn close(self) {
        self.broker.close().await;
    }
}
