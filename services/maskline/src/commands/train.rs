//! `maskline train`: more training runs on a dataset.

use anyhow::{Context, Result};
use clap::Args;
use maskline_messages::{Method, TrainingRequested};
use maskline_storage::Stores;

use super::training_args::{DEFAULT_METHOD, TrainingArgs, method_names};
use crate::{
    connection::ConnectionArgs,
    job_summary, lookup, output, run_view, run_wait,
    start::{self, Origin},
};

#[derive(Debug, Args)]
pub(crate) struct Train {
    /// A collection (its newest version), a version such as masks@3, or the id of a dataset or
    /// its beginning
    dataset: String,
    /// The networks or the linear probe, each of which becomes a run [default: linear_probe, or with
    /// --from MODEL the network of that model]
    #[arg(
        long,
        value_name = "NETWORKS",
        value_delimiter = ',',
        value_parser = method_names()
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
        let named = self.named_networks();
        if let Some(named) = &named {
            // What is wrong with the settings is said before anything is connected.
            self.training.choices(named)?;
        }
        let connections = self.connection.connect().await?;
        let dataset = lookup::dataset(connections.catalog(), &self.dataset).await?;
        let stores = connections.stores();
        let networks = match named {
            Some(named) => named,
            None => self.network_to_begin_from(stores).await?,
        };
        let mut settings = self.training.choices(&networks)?;
        settings.start = self.training.start(&networks, stores).await?;
        let ids = run_wait::ids(&dataset, &networks, &settings);
        run_wait::reopen_failed(connections.catalog(), &ids).await?;
        let request = TrainingRequested {
            dataset,
            networks: networks.clone(),
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
        for (network, id) in networks.iter().zip(ids) {
            match self.json {
                true => output::print_json(&serde_json::json!({ "id": id, "network": network }))?,
                false => output::print(id)?,
            }
        }
        if !self.json {
            output::note("Follow them with: maskline models");
        }
        Ok(())
    }

    /// What is trained. `None` if what it begins from has to be looked at.
    fn named_networks(&self) -> Option<Vec<Method>> {
        match (self.network.as_slice(), self.training.from()) {
            ([], Some(from)) if start::of_word(from).is_none() => None,
            ([], _) => Some(vec![DEFAULT_METHOD.parse().expect("it is a method")]),
            (named, _) => Some(named.to_vec()),
        }
    }

    /// The network of the model that training begins from.
    async fn network_to_begin_from(&self, stores: &Stores) -> Result<Vec<Method>> {
        let from = self.training.from().unwrap_or_default();
        let network = Origin::read(from, stores).await?.network();
        let network = network.with_context(|| {
            format!("{from} doesn't say which network it is: name it with --network")
        })?;
        Ok(vec![network.into()])
    }
}
