//! `maskline datasets`, `models`, `report`, `train`: what came out, and more of it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::Cell;
use maskline_messages::{NetworkName, ObjectKey, RunId, TrainingRequested};
use maskline_storage::records::{Dataset, Model};

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
        if self.json {
            return json_lines(&datasets);
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
            let manifest = ObjectKey::dataset(&dataset.id, "manifest.json")?;
            let classes: Vec<_> = dataset.classes.iter().map(|class| class.as_str()).collect();
            table.add_row([
                Cell::new(dataset.id),
                number(images(dataset, "train")),
                number(images(dataset, "validation")),
                number(dataset.set_aside),
                Cell::new(classes.join(", ")),
                Cell::new(stores.objects.locate(&manifest)),
            ]);
        }
        println!("{table}");
        Ok(())
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
            return json_lines(&models);
        }
        println!("{}", models_table(&models));
        Ok(())
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
        let id: RunId = view::by_prefix(&self.run, "model", models.iter().map(|model| model.id))?;
        if self.json {
            let json = stores
                .objects
                .get(&ObjectKey::model(id, "report.json")?)
                .await?;
            println!("{}", String::from_utf8_lossy(&json));
            return Ok(());
        }
        let key = ObjectKey::model(id, "report.html")?;
        if let Some(out) = self.out {
            let page = stores.objects.get(&key).await?;
            std::fs::write(&out, page)
                .with_context(|| format!("{} can't be written", out.display()))?;
            println!("{}", out.display());
        } else {
            println!(
                "{}",
                models_table(
                    &models
                        .into_iter()
                        .filter(|model| model.id == id)
                        .collect::<Vec<_>>()
                )
            );
            println!("{}", stores.objects.locate(&key));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Train {
    /// A dataset's id, or its beginning
    dataset: String,
    /// Which networks; each becomes a run
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', required = true)]
    network: Vec<NetworkName>,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    places: Places,
}

impl Train {
    /// Asks the trainers for more runs and prints their ids.
    pub async fn run(self) -> Result<()> {
        let connections = self.places.connect().await?;
        let datasets = connections.catalog().datasets(ALL).await?;
        let dataset = view::by_prefix(
            &self.dataset,
            "dataset",
            datasets.iter().map(|dataset| dataset.id),
        )?;
        let settings = self.settings.settings();
        for &network in &self.network {
            println!("{}", RunId::of(&dataset, network, &settings.canonical()));
        }
        let request = TrainingRequested {
            dataset,
            networks: self.network,
            settings,
        };
        connections.sender().send(request.into()).await?;
        connections.close().await;
        Ok(())
    }
}

fn json_lines<T: serde::Serialize>(items: &[T]) -> Result<()> {
    for item in items {
        println!("{}", serde_json::to_string(item)?);
    }
    Ok(())
}
