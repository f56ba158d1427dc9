//! `maskline train`: more training runs on a dataset.

use anyhow::Result;
use clap::Args;
use maskline_messages::{Method, RunId, TrainingRequested};

use super::training_args::{DEFAULT_METHOD, TrainingArgs, method_names};
use crate::{connection::ConnectionArgs, lookup, output};

#[derive(Debug, Args)]
pub(crate) struct Train {
    /// A collection (its newest version), a version such as masks@3, or the id of a dataset or
    /// its beginning
    dataset: String,
    /// The networks or the linear probe, each of which becomes a run
    #[arg(
        long,
        value_name = "NETWORKS",
        value_delimiter = ',',
        value_parser = method_names(),
        default_value = DEFAULT_METHOD
    )]
    network: Vec<Method>,
    #[command(flatten)]
    training: TrainingArgs,
    /// Print each run as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Train {
    /// Asks the trainers for the runs and prints their ids. Runs that failed are opened
    /// again.
    pub(crate) async fn run(self) -> Result<()> {
        let settings = self.training.settings()?;
        let connections = self.connection.connect().await?;
        let dataset = lookup::dataset(connections.catalog(), &self.dataset).await?;
        let runs = self.network.iter().map(|&network| {
            let id = RunId::of(&dataset, network, &settings.canonical());
            (network, id)
        });
        let runs: Vec<_> = runs.collect();
        for &(_, id) in &runs {
            match connections.catalog().reopen_run(id).await {
                // Nobody has asked for this run before.
                Err(missing) if missing.is_not_found() => {}
                reopened => reopened?,
            }
        }
        let request = TrainingRequested {
            dataset,
            networks: self.network,
            settings,
        };
        connections.sender().send(request.into()).await?;
        connections.close().await;
        for (network, id) in runs {
            match self.json {
                true => output::print(serde_json::json!({ "id": id, "network": network }))?,
                false => output::print(id)?,
            }
        }
        Ok(())
    }
}
