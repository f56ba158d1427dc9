//! `maskline models`: the published models.

use anyhow::Result;
use clap::Args;
use comfy_table::{Cell, Table};
use maskline_messages::ObjectKey;
use maskline_storage::records::Model;

use crate::{
    connection::ConnectionArgs,
    evaluation_view, lookup,
    output::{self, number, percent},
};

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
        if models.is_empty() {
            return output::print(
                "No models yet: `maskline train --help` says how to ask for one.",
            );
        }
        output::print(table(&models))
    }
}

/// A table with a line for each model: its network, its size and how good it is.
pub(crate) fn table(models: &[Model]) -> Table {
    let mut table = output::table(&[
        "model",
        "network",
        "parameters",
        "test accuracy",
        "best val. loss",
        "best val. accuracy",
        "training time",
    ]);
    for model in models {
        table.add_row([
            Cell::new(model.id),
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
