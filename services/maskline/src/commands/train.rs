//! `maskline train`: more training runs on a dataset.

use anyhow::Result;
use clap::Args;
use maskline_messages::{Method, TrainingRequested};

use super::training_args::{DEFAULT_METHOD, TrainingArgs, method_names};
use crate::{connection::ConnectionArgs, job_summary, lookup, output, run_view, run_wait};

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
    /// Wait until the runs have ended, and print how good their networks are
    #[arg(long)]
    wait: bool,
    /// Print each run as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Train {
    /// Asks the trainers for the runs and prints their ids, or waits for their end. Runs that
    /// failed are opened again.
    pub(crate) async fn run(self) -> Result<()> {
        let mut settings = self.training.choices(&self.network)?;
        let connections = self.connection.connect().await?;
        let dataset = lookup::dataset(connections.catalog(), &self.dataset).await?;
        let stores = connections.stores();
        settings.start = self.training.start(&self.network, stores).await?;
        let ids = run_wait::ids(&dataset, &self.network, &settings);
        run_wait::reopen_failed(connections.catalog(), &ids).await?;
        let request = TrainingRequested {
            dataset,
            networks: self.network.clone(),
            settings,
        };
        connections.sender().send(request.into()).await?;
        if self.wait {
            let runs = run_wait::wait_for_end(connections.catalog(), &ids).await?;
            connections.close().await;
            match self.json {
                true => runs.iter().try_for_each(output::print_json)?,
                false => output::print(job_summary::training(&runs).trim_end())?,
            }
            return output::told_above(run_view::succeeded(&runs), self.json);
        }
        connections.close().await;
        for (network, id) in self.network.iter().zip(ids) {
            match self.json {
                true => output::print(serde_json::json!({ "id": id, "network": network }))?,
                false => output::print(id)?,
            }
        }
        if !self.json {
            output::note("Follow them with: maskline models");
        }
        Ok(())
    }
}
