//! Where everything is: the addresses that every command takes.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use maskline_runtime::{Broker, BrokerArgs, Sender};
use maskline_storage::{Catalog, StorageArgs, Stores};

/// The same flags and environment variables as the services'.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Where everything is")]
pub struct Places {
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
}

impl Places {
    pub async fn stores(&self) -> Result<Stores> {
        Ok(self.storage.open(&self.broker.data).await?)
    }

    pub async fn broker(&self) -> Result<Arc<dyn Broker>> {
        Ok(self.broker.open_broker().await?)
    }

    pub async fn connect(&self) -> Result<Connections> {
        let stores = self.stores().await?;
        let broker = self.broker().await?;
        Ok(Connections { stores, broker })
    }
}

/// Broker, objects and catalog.
pub struct Connections {
    stores: Stores,
    broker: Arc<dyn Broker>,
}

impl Connections {
    pub fn catalog(&self) -> &dyn Catalog {
        self.stores.catalog.as_ref()
    }

    pub fn broker(&self) -> &dyn Broker {
        self.broker.as_ref()
    }

    pub fn sender(&self) -> Sender {
        Sender::new(self.broker.clone())
    }

    pub async fn close(self) {
        self.broker.close().await;
    }
}
