//! `maskline datasets`, `models`, `report`, `train`: what came out, and more of it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::Cell;
use maskline_messages::{DatasetId, NetworkName, ObjectKey, RunId, TrainingRequested};
use maskline_storage::{
    StorageError,
    records::{Dataset, Model},
};
use serde::Serialize;

use super::enqueue::SettingsArgs;
use crate::{
    output::{self, number, percent},
    places::Places,
    view,
};

/// More than anybody trains.
pub const ALL: usize = 100_000;

#[derive(Debug, Args)]
pub struct Datasets {
    /// One JSON object a line, a line a dataset
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

impl Datasets {
    pub async fn run(self) -> Result<()> {
        let stores = self.places.stores().await?;
        let datasets = stores.catalog.datasets(ALL).await?;
        let place = |id: &DatasetId| {
            let manifest = ObjectKey::dataset(id, "manifest.json")?;
            anyhow::Ok(stores.objects.locate(&manifest))
        };
        if self.json {
            for dataset in &datasets {
                print_located(dataset, place(&dataset.id)?)?;
            }
            return Ok(());
        }
        if datasets.is_empty() {
            return output::print(
                "No datasets yet: one is frozen when all images of a job have ended.",
            );
        }
        let mut table = output::table(&[
            "dataset",
            "train",
            "validation",
            "set aside",
            "classes",
            "where",
        ]);
        for dataset in &datasets {
            let classes: Vec<_> = dataset.classes.iter().map(|class| class.as_str()).collect();
            table.add_row([
                Cell::new(dataset.id),
                number(images(dataset, "train")),
                number(images(dataset, "validation")),
                number(dataset.set_aside),
                Cell::new(classes.join(", ")),
                Cell::new(place(&dataset.id)?),
            ]);
        }
        output::print(table)
    }
}

/// Images of one split.
pub fn images(dataset: &Dataset, split: &str) -> u64 {
    dataset
        .images
        .get(split)
        .into_iter()
        .flat_map(|classes| classes.values())
        .sum()
}

#[derive(Debug, Args)]
pub struct Models {
    /// One JSON object a line, a line a model
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

impl Models {
    pub async fn run(self) -> Result<()> {
        let stores = self.places.stores().await?;
        let models = stores.catalog.models(ALL).await?;
        if self.json {
            for model in &models {
                let weights = ObjectKey::model(model.id, "model.safetensors")?;
                print_located(model, stores.objects.locate(&weights))?;
            }
            return Ok(());
        }
        if models.is_empty() {
            return output::print(
                "No models yet: `maskline train --help` says how to ask for one.",
            );
        }
        output::print(models_table(&models))
    }
}

/// The seed project's table: what was trained and how well.
pub fn models_table(models: &[Model]) -> comfy_table::Table {
    let mut table = output::table(&[
        "model",
        "network",
        "parameters",
        "best val. loss",
        "best val. accuracy",
        "training time",
    ]);
    for model in models {
        table.add_row([
            Cell::new(model.id),
            Cell::new(model.network),
            number(model.parameters),
            number(format!("{:.4}", model.loss)),
            number(percent(Some(model.accuracy))),
            number(format!("{:.0} s", model.seconds)),
        ]);
    }
    table
}

#[derive(Debug, Args)]
pub struct Report {
    /// A run's (and so its model's) id, or its beginning
    run: String,
    /// Print the report for programs (report.json) instead
    #[arg(long)]
    json: bool,
    /// Write the page here instead of naming where it lies
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

impl Report {
    pub async fn run(self) -> Result<()> {
        let stores = self.places.stores().await?;
        let models = stores.catalog.models(ALL).await?;
        let ids = models.iter().map(|model| model.id);
        let id = view::by_prefix(&self.run, "model", "maskline models", ids)?;
        if self.json {
            let json = stores
                .objects
                .get(&ObjectKey::model(id, "report.json")?)
                .await?;
            return output::print(String::from_utf8_lossy(&json));
        }
        let key = ObjectKey::model(id, "report.html")?;
        if let Some(out) = self.out {
            let page = stores.objects.get(&key).await?;
            std::fs::write(&out, page)
                .with_context(|| format!("{} can't be written", out.display()))?;
            return output::print(out.display());
        }
        let model: Vec<_> = models.into_iter().filter(|model| model.id == id).collect();
        output::print(models_table(&model))?;
        output::print(stores.objects.locate(&key))
    }
}

#[derive(Debug, Args)]
pub struct Train {
    /// A dataset's id, or its beginning
    dataset: String,
    /// Which networks, each of which becomes a run: mobilenet_v2,
    /// mobilenet_v3_small, mnasnet1_0, efficientnet_b0
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', required = true)]
    network: Vec<NetworkName>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// One JSON object a line, a line a run
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

impl Train {
    /// Asks the trainers for more runs, or once more for those that failed, and prints
    /// their ids.
    pub async fn run(self) -> Result<()> {
        let settings = self.settings.settings()?;
        let connections = self.places.connect().await?;
        let datasets = connections.catalog().datasets(ALL).await?;
        let dataset = view::by_prefix(
            &self.dataset,
            "dataset",
            "maskline datasets",
            datasets.iter().map(|dataset| dataset.id),
        )?;
        let runs = self.network.iter().map(|&network| {
            let id = RunId::of(&dataset, network, &settings.canonical());
            (network, id)
        });
        let runs: Vec<_> = runs.collect();
        for &(_, id) in &runs {
            match connections.catalog().reopen_run(id).await {
                // It has never been asked for.
                Err(StorageError::NotFound(_)) => {}
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
            if self.json {
                output::print(serde_json::json!({ "id": id, "network": network }))?;
            } else {
                output::print(id)?;
            }
        }
        Ok(())
    }
}

/// A record, and where a person finds what it is of.
#[derive(Serialize)]
struct Located<'a, T> {
    #[serde(flatten)]
    record: &'a T,
    r#where: String,
}

fn print_located<T: Serialize>(record: &T, place: String) -> Result<()> {
    let located = Located {
        record,
        r#where: place,
    };
    output::print_json(&located)
}
