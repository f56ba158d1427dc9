//! `maskline models`: the published models, and the runs that have published none.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use comfy_table::{Cell, Table};
use maskline_foundation::text::{printable, shortened};
use maskline_messages::{DatasetId, ObjectKey};
use maskline_storage::records::{Model, Run, RunState};

use crate::{
    connection::ConnectionArgs,
    evaluation_view,
    lookup::{self, VersionOf},
    output::{self, number, percent},
};

/// The most characters of a run's error that the table shows.
const MAX_ERROR: usize = 160;

#[derive(Debug, Args)]
pub(crate) struct Models {
    /// Print each model as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Models {
    pub(crate) async fn run(self) -> Result<()> {
        let stores = self.connection.stores().await?;
        let models = stores.catalog.models(lookup::ALL).await?;
        if self.json {
            for model in &models {
                let weights = ObjectKey::model_weights(model.id);
                output::print_located(model, stores.objects.locate(&weights))?;
            }
            return Ok(());
        }
        let versions = lookup::versions(&*stores.catalog).await?;
        let mut runs = stores.catalog.runs(None, lookup::ALL).await?;
        runs.retain(|run| run.state != RunState::Done);
        if models.is_empty() {
            output::print("No models yet: `maskline train --help` says how to ask for one.")?;
        } else {
            output::print(table(&models, &versions))?;
        }
        if runs.is_empty() {
            return Ok(());
        }
        output::print("Runs that have no model:")?;
        output::print(table_of_runs(&runs, &versions))?;
        output::print("`maskline report RUN` prints the whole error of a run that failed.")
    }
}

/// The name of the version that a dataset is.
pub(crate) fn version_name(
    dataset: &DatasetId,
    versions: &BTreeMap<DatasetId, VersionOf>,
) -> String {
    match versions.get(dataset) {
        Some(version) if version.deleted => format!("{}, deleted", version.name),
        Some(version) => version.name.to_string(),
        None => "-".to_owned(),
    }
}

/// A table with a line for each run that has published nothing: how far it is, or why it failed.
fn table_of_runs(runs: &[Run], versions: &BTreeMap<DatasetId, VersionOf>) -> Table {
    let mut table = output::table(&["run", "version", "network", "state"]);
    for run in runs {
        let state = match (run.state, &run.error) {
            (RunState::Failed, error) => {
                let error = error.as_deref().unwrap_or("no reason is recorded");
                format!("failed: {}", printable(&shortened(error, MAX_ERROR)))
            }
            _ => format!("{} of {} epochs done", run.epoch, run.epochs()),
        };
        table.add_row([
            Cell::new(run.id),
            Cell::new(version_name(&run.dataset, versions)),
            Cell::new(run.network),
            Cell::new(state),
        ]);
    }
    table
}

/// A table with a line for each model: its version, its network, its size and how good it is.
pub(crate) fn table(models: &[Model], versions: &BTreeMap<DatasetId, VersionOf>) -> Table {
    let mut table = output::table(&[
        "model",
        "version",
        "network",
        "parameters",
        "test accuracy",
        "val. loss",
        "val. accuracy",
        "training time",
    ]);
    for model in models {
        table.add_row([
            Cell::new(model.id),
            Cell::new(version_name(&model.dataset, versions)),
            Cell::new(model.network),
            number(model.parameters),
            number(percent(evaluation_view::test_accuracy(
                model.evaluation.as_ref(),
            ))),
            number(format!("{:.4}", model.loss)),
            number(percent(Some(model.accuracy))),
            number(format!("{:.0} s", model.seconds)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use maskline_messages::{Method, NetworkName, RunId, TrainingSettings};

    use super::*;

    #[test]
    fn a_run_without_a_model_is_listed_with_its_version_and_its_shortened_error() {
        let dataset = DatasetId::of(b"a dataset");
        let settings = TrainingSettings::default();
        let network = Method::from(NetworkName::MobilenetV2);
        let run = |state, error: Option<String>| Run {
            id: RunId::of(&dataset, network, &settings),
            dataset,
            job: None,
            network,
            settings: settings.clone(),
            state,
            error,
            epoch: 2,
            accuracy: None,
            loss: None,
            evaluation: None,
            device: None,
            traceparent: None,
            created: 0,
        };
        let name = "masks@3".parse().unwrap();
        let deleted = false;
        let versions = BTreeMap::from([(dataset, VersionOf { name, deleted })]);
        let failed = run(RunState::Failed, Some("one class only ".repeat(99)));
        let trains = run(RunState::Open, None);
        let text = table_of_runs(&[failed, trains], &versions).to_string();
        assert!(text.contains("masks@3"), "{text}");
        assert!(text.contains("failed: one class only"), "{text}");
        assert!(text.contains('…'), "{text}");
        let epochs = settings.epochs;
        assert!(
            text.contains(&format!("2 of {epochs} epochs done")),
            "{text}"
        );
    }
}
