//! `maskline tune`: finds good settings for a network by training it several times.

use anyhow::{Result, bail};
use clap::{Args, value_parser};
use maskline_messages::{Method, NetworkName, StudyId, TuningRequested, TuningSearch};
use maskline_storage::{Catalog, records::StudyState};

use super::training_args::{TrainingArgs, method_names};
use crate::{connection::ConnectionArgs, lookup, output, run_wait, study_view, study_wait};

#[derive(Debug, Args)]
pub(crate) struct Tune {
    /// A collection (its newest version), a version such as masks@3, or the id of a dataset or
    /// its beginning
    dataset: String,
    /// The network
    #[arg(long, value_parser = method_names())]
    network: Method,
    /// How often the network is trained with other settings. The first trial has the usual ones
    #[arg(
        long,
        default_value_t = 16,
        value_parser = value_parser!(u32).range(1..=i64::from(TuningRequested::MAX_TRIALS))
    )]
    trials: u32,
    /// Which trials are trained to their end: `asha` (after a ninth and after a third of the epochs
    /// only the best third goes on) or `random` (all of them)
    #[arg(long, default_value_t = TuningSearch::Asha)]
    search: TuningSearch,
    #[command(flatten)]
    training: TrainingArgs,
    /// Wait until the best trial is published, and print all trials
    #[arg(long)]
    wait: bool,
    /// Print each trial as one line of JSON, and then the study
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Tune {
    /// Asks the trainers for the study and prints its id, or waits for its end. The same command is
    /// the same study. It is tried again if all of its trials failed, or its best one in the end.
    pub(crate) async fn run(self) -> Result<()> {
        let network = network(self.network)?;
        let methods = [self.network];
        let mut settings = self.training.choices(&methods)?;
        let connections = self.connection.connect().await?;
        let catalog = connections.catalog();
        let dataset = lookup::dataset(catalog, &self.dataset).await?;
        let stores = connections.stores();
        settings.start = self.training.start(&methods, stores).await?;
        let request = TuningRequested {
            dataset,
            network,
            trials: self.trials,
            search: self.search,
            settings,
        };
        request.validate()?;
        let id = StudyId::of(&request);
        let version = lookup::versions(catalog).await?.remove(&dataset);
        reopen_failed(catalog, id).await?;
        connections.sender().send(request.into()).await?;
        if self.wait {
            let ended = study_wait::wait_for_end(stores, id).await?;
            connections.close().await;
            match self.json {
                true => ended.lines()?.iter().try_for_each(output::print)?,
                false => output::print(study_view::text(&ended))?,
            }
            return output::told_above(ended.succeeded(), self.json);
        }
        connections.close().await;
        match self.json {
            true => output::print_json(&serde_json::json!({ "study": id, "network": network }))?,
            false => output::print(id)?,
        }
        if !self.json {
            let version = version.map(|version| version.name.to_string());
            output::note(match version.filter(|version| *version != self.dataset) {
                None => "Follow it with the same command and --wait".to_owned(),
                Some(version) => format!(
                    "Follow it with the same command and --wait, and with {version} in place of {} \
                     once there is a newer version",
                    self.dataset
                ),
            });
        }
        Ok(())
    }
}

fn network(method: Method) -> Result<NetworkName> {
    match method {
        Method::Network(network) => Ok(network),
        Method::LinearProbe => bail!(
            "there is nothing to tune in a linear probe: each one chooses the strength of its \
             regularization by a cross-validation. Name a network, such as --network \
             efficientnet_lite0"
        ),
    }
}

/// Opens what failed of a study that was asked for before.
async fn reopen_failed(catalog: &dyn Catalog, id: StudyId) -> Result<()> {
    let Some(study) = catalog.study(id).await? else {
        return Ok(());
    };
    match study.state {
        StudyState::Open => Ok(()),
        StudyState::Failed => Ok(catalog.reopen_study(id).await?),
        StudyState::Done => {
            let best: Vec<_> = study.best_run().into_iter().collect();
            run_wait::reopen_failed(catalog, &best).await
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        tune: Tune,
    }

    fn parsed(flags: &[&str]) -> Result<Tune, String> {
        let line = [&["tune", "masks"], flags].concat();
        let parsed = Line::try_parse_from(line);
        parsed
            .map(|line| line.tune)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_network_is_tuned_in_16_trials_with_asha() {
        let tune = parsed(&["--network", "mobilenet_v2"]).unwrap();
        assert_eq!((tune.trials, tune.search), (16, TuningSearch::Asha));
        assert_eq!(network(tune.network).unwrap(), NetworkName::MobilenetV2);
    }

    #[test]
    fn what_can_not_be_tuned_is_refused_in_plain_words() {
        let refused = |flags: &[&str]| {
            let network = ["--network", "mobilenet_v2"];
            parsed(&[&network[..], flags].concat()).unwrap_err()
        };
        let none = refused(&["--trials", "0"]);
        assert!(none.contains("0 is not in 1..=1000"), "{none}");
        let unknown = refused(&["--search", "bayes"]);
        let expected = "\"bayes\" is not a search (random, asha)";
        assert!(unknown.contains(expected), "{unknown}");
        let probe = parsed(&["--network", "linear_probe"]).unwrap();
        let refused = network(probe.network).unwrap_err().to_string();
        assert!(refused.contains("nothing to tune in a linear probe"));
        assert!(parsed(&[]).unwrap_err().contains("--network"));
    }
}
