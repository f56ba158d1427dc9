//! `maskline report`: the report of a training run.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use maskline_messages::ObjectKey;
use maskline_storage::records::RunState;

use super::models;
use crate::{
    connection::ConnectionArgs,
    evaluation_view,
    lookup::{self, VersionOf},
    output,
};

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
        let catalog = stores.catalog.as_ref();
        let runs = catalog.runs(None, lookup::ALL).await?;
        let ids = runs.iter().map(|run| run.id);
        let id = lookup::by_prefix(&self.run, "run", "maskline models", ids)?;
        let versions = lookup::versions(catalog).await?;
        let Some(model) = catalog.model(id).await? else {
            let run = catalog.run(id).await?;
            let run = run.with_context(|| format!("run {id} is gone"))?;
            let version = models::version_name(&run.dataset, &versions);
            match (run.state, &run.error) {
                (RunState::Failed, error) => bail!(
                    "run {id} of {} on {version} failed: {}",
                    run.network,
                    error.as_deref().unwrap_or("no reason is recorded")
                ),
                _ => bail!(
                    "run {id} of {} on {version} has no report before its end: {} of {} epochs are \
                     done",
                    run.network,
                    run.epoch,
                    run.epochs()
                ),
            }
        };
        if self.json {
            let report = ObjectKey::model_report(id);
            let report = stores.objects.get(&report).await?;
            return output::print(String::from_utf8_lossy(&report));
        }
        let page = ObjectKey::model_report_page(id);
        let deleted = versions
            .get(&model.dataset)
            .filter(|version| version.deleted);
        if let Some(out) = self.out {
            if let Some(version) = deleted {
                bail!(deleted_with(version));
            }
            let page = stores.objects.get(&page).await?;
            std::fs::write(&out, page)
                .with_context(|| format!("{} can't be written", out.display()))?;
            return output::print(out.display());
        }
        output::print(models::table(std::slice::from_ref(&model), &versions))?;
        if let Some(evaluation) = &model.evaluation {
            let name = model.network.to_string();
            output::print(evaluation_view::text(&[(name, evaluation)]))?;
        }
        match deleted {
            Some(version) => bail!(deleted_with(version)),
            None => output::print(stores.objects.locate(&page)),
        }
    }
}

/// Why there is no page of a report any more.
fn deleted_with(version: &VersionOf) -> String {
    format!(
        "the page of its report was removed together with {}, because it shows pictures of that \
         version; the weights and `--json` are still there",
        version.name
    )
}
