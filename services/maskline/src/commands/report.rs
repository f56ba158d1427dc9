//! `maskline report`: the report of a training run.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use maskline_messages::ObjectKey;

use super::models;
use crate::{connection::ConnectionArgs, evaluation_view, lookup, output};

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The id of a run or its beginning; the run's model has the same id
    run: String,
    /// Print the report as JSON, for programs
    #[arg(long)]
    json: bool,
    /// Write the report's page to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Report {
    pub(crate) async fn run(self) -> Result<()> {
        let stores = self.connection.stores().await?;
        let models = stores.catalog.models(lookup::ALL).await?;
        let ids = models.iter().map(|model| model.id);
        let id = lookup::by_prefix(&self.run, "model", "maskline models", ids)?;
        if self.json {
            let report = ObjectKey::model_report(id);
            let report = stores.objects.get(&report).await?;
            return output::print(String::from_utf8_lossy(&report));
        }
        let page = ObjectKey::model_report_page(id);
        if let Some(out) = self.out {
            let page = stores.objects.get(&page).await?;
            std::fs::write(&out, page)
                .with_context(|| format!("{} can't be written", out.display()))?;
            return output::print(out.display());
        }
        let model: Vec<_> = models.into_iter().filter(|model| model.id == id).collect();
        output::print(models::table(&model))?;
        for model in &model {
            if let Some(evaluation) = &model.evaluation {
                let name = model.network.to_string();
                output::print(evaluation_view::text(&[(name, evaluation)]))?;
            }
        }
        output::print(stores.objects.locate(&page))
    }
}
