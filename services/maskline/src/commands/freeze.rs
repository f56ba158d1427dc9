//! `maskline freeze`: a version of a collection as it is now.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use maskline_messages::{CollectionName, Method, RequestId};
use maskline_storage::{
    Catalog,
    records::{Collection, TrainingWish, Work},
};

use super::training_args::{DEFAULT_METHOD, TrainingArgs, method_names};
use crate::{collection_view, connection::ConnectionArgs, lookup, output};

/// How often `--wait` reads the catalog.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(crate) struct Freeze {
    /// The collection
    #[arg(value_name = "COLLECTION")]
    name: CollectionName,
    /// What to train on the version: networks, or a linear probe, which takes seconds. If nothing
    /// is named, it is the linear probe
    #[arg(
        long,
        value_name = "NETWORKS",
        value_delimiter = ',',
        value_parser = method_names(),
        num_args = 0..=1,
        default_missing_value = DEFAULT_METHOD
    )]
    train: Vec<Method>,
    #[command(flatten)]
    training: TrainingArgs,
    /// Wait until the collection is frozen, and print what is in it
    #[arg(long)]
    wait: bool,
    /// Print the collection as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Freeze {
    /// Offers the freezing to the storers. If nothing has changed since the newest version,
    /// they make no other.
    pub(crate) async fn run(self) -> Result<()> {
        let settings = self.training.settings()?;
        let stores = self.connection.stores().await?;
        let catalog = stores.catalog.as_ref();
        let mut collection = lookup::collection(catalog, &self.name).await?;
        if !self.train.is_empty() {
            let wish = TrainingWish {
                id: RequestId::draw(),
                networks: self.train.clone(),
                settings,
            };
            catalog.request_training(&self.name, &wish).await?;
        }
        let freezing = Work::Freeze(self.name.clone());
        catalog.offer_work_again(&freezing).await?;
        if self.wait {
            collection = self.wait_until_frozen(catalog, &freezing).await?;
        }
        let view = collection_view::view(catalog, collection).await?;
        if self.json {
            return output::print_json(&view);
        }
        match self.wait {
            true => output::print(collection_view::table(&[view])),
            false => output::print(format!(
                "{} is frozen when nothing of it is in flight: `maskline collections` shows its \
                 versions",
                self.name
            )),
        }
    }

    /// Waits until the freezing is done. It is an error if the collection can't be frozen.
    async fn wait_until_frozen(
        &self,
        catalog: &dyn Catalog,
        freezing: &Work,
    ) -> Result<Collection> {
        loop {
            let open = catalog.open_work(freezing.kind()).await?;
            if open.iter().all(|lease| lease.work != *freezing) {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let collection = lookup::collection(catalog, &self.name).await?;
        match &collection.error {
            Some(error) => bail!("{} can't be frozen: {error}", self.name),
            None => Ok(collection),
        }
    }
}
