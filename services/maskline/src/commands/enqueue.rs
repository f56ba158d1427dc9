//! `maskline enqueue`: a source of images becomes a job.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use maskline_messages::{
    JobId, Label, Labeling, Location, NetworkName, Optimizer, Source, SourceRequested,
    TrainingSettings,
};
use maskline_runtime::{Sender, telemetry};
use maskline_storage::{
    Catalog,
    records::{Job, JobState, SplitSettings, now},
};
use tracing::Instrument;
use url::Url;

use crate::{
    output,
    places::Places,
    view::{self, JobView, Progress},
};

/// How often `--wait` looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  maskline enqueue folder photos/ --label-from folder --train mobilenet_v3_small --wait
  maskline enqueue urls faces.csv --label-from column
  maskline enqueue page https://example.org/gallery --label with_mask")]
pub struct Enqueue {
    #[command(subcommand)]
    source: SourceArg,
}

#[derive(Debug, Subcommand)]
enum SourceArg {
    /// A folder, searched recursively; it must be visible to the scraper
    Folder {
        path: PathBuf,
        #[command(flatten)]
        order: Order,
    },
    /// A list of URLs: text with one a line, or CSV with a column `url` and perhaps `label`
    Urls {
        /// A file that the scraper sees, or an http(s) address
        list: String,
        #[command(flatten)]
        order: Order,
    },
    /// A web page, for the images in it
    Page {
        url: Url,
        #[command(flatten)]
        order: Order,
    },
}

#[derive(Debug, Args)]
struct Order {
    #[command(flatten)]
    places: Places,
    /// Everything in the source is of this class
    #[arg(long, conflicts_with = "label_from")]
    label: Option<Label>,
    /// Take each image's class from its folder's name, or from the list's column `label`
    #[arg(long, value_enum)]
    label_from: Option<LabelFrom>,
    /// The classes that there are; an image of another is rejected
    #[arg(long, value_delimiter = ',', default_value = "with_mask,without_mask")]
    classes: Vec<Label>,
    /// Train these networks when the dataset is frozen
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',')]
    train: Vec<NetworkName>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// The share of each class that goes to the validation split
    #[arg(long, default_value_t = SplitSettings::default().validation)]
    validation: f64,
    /// Wait until the dataset is frozen and its runs have ended
    #[arg(long)]
    wait: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LabelFrom {
    Folder,
    Column,
}

/// What a training run is asked for.
#[derive(Debug, Clone, Args)]
pub struct SettingsArgs {
    #[arg(long, default_value_t = TrainingSettings::default().epochs)]
    epochs: u32,
    /// Images a step
    #[arg(long, default_value_t = TrainingSettings::default().batch)]
    batch: u32,
    /// The side of the network's square input
    #[arg(long, default_value_t = TrainingSettings::default().pixels)]
    pixels: u32,
    /// adamw or sgd
    #[arg(long, default_value = "adamw")]
    optimizer: Optimizer,
    /// The peak of the cosine schedule
    #[arg(long, default_value_t = TrainingSettings::default().learning_rate)]
    learning_rate: f32,
    #[arg(long, default_value_t = TrainingSettings::default().weight_decay)]
    weight_decay: f32,
    /// Of the split, the augmentation and the training
    #[arg(long, default_value_t = TrainingSettings::default().seed)]
    seed: u64,
}

impl SettingsArgs {
    pub fn settings(&self) -> TrainingSettings {
        TrainingSettings {
            epochs: self.epochs,
            batch: self.batch,
            pixels: self.pixels,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            seed: self.seed,
            ..TrainingSettings::default()
        }
    }
}

impl Enqueue {
    pub async fn run(self) -> Result<()> {
        let (source, order) = match self.source {
            SourceArg::Folder { path, order } => (folder(path)?, order),
            SourceArg::Urls { list, order } => (
                Source::Urls {
                    list: list_location(&list)?,
                },
                order,
            ),
            SourceArg::Page { url, order } => (Source::Page { url }, order),
        };
        let job = order.job(source)?;
        let connections = order.places.connect().await?;
        enqueue(&job, connections.catalog(), &connections.sender()).await?;
        if order.wait {
            let view = wait(connections.catalog(), job.id).await?;
            print(&view, order.json)?;
            if view.state == Progress::Failed {
                bail!("job {} failed: {}", view.id, view.error.unwrap_or_default());
            }
        } else if order.json {
            println!("{}", serde_json::json!({ "id": job.id }));
        } else {
            println!("{}", job.id);
            eprintln!("Follow it with: maskline status {} --watch", job.id);
        }
        connections.close().await;
        Ok(())
    }
}

impl Order {
    fn job(&self, source: Source) -> Result<Job> {
        if !(0.0..1.0).contains(&self.validation) {
            bail!(
                "--validation {} is no share: give a number from 0 to below 1",
                self.validation
            );
        }
        if let Some(label) = self
            .label
            .as_ref()
            .filter(|label| !self.classes.contains(label))
        {
            let classes: Vec<_> = self.classes.iter().map(Label::as_str).collect();
            bail!(
                "{label} is not a class ({}): mend it, or name yours with --classes",
                classes.join(", ")
            );
        }
        let labeling = match (&self.label, self.label_from) {
            (Some(label), _) => Some(Labeling::Declared {
                label: label.clone(),
            }),
            (None, Some(LabelFrom::Folder)) => Some(Labeling::Folder),
            (None, Some(LabelFrom::Column)) => Some(Labeling::Column),
            (None, None) => {
                bail!("every image needs a class: give --label CLASS or --label-from folder|column")
            }
        };
        let settings = self.settings.settings();
        Ok(Job {
            id: JobId::draw(),
            source,
            labeling,
            classes: self.classes.clone(),
            train: self.train.clone(),
            split: SplitSettings {
                validation: self.validation,
                seed: settings.seed,
                ..Default::default()
            },
            settings,
            state: JobState::Expanding,
            error: None,
            dataset: None,
            traceparent: None,
            created: now(),
        })
    }
}

/// The catalog first, so that every stage finds the job that a message names.
pub async fn enqueue(job: &Job, catalog: &dyn Catalog, sender: &Sender) -> Result<()> {
    let span = tracing::info_span!("enqueue", maskline.job.id = %job.id);
    async {
        let traceparent = telemetry::current_traceparent();
        catalog
            .create_job(&Job {
                traceparent,
                ..job.clone()
            })
            .await?;
        let requested = SourceRequested {
            job: job.id,
            source: job.source.clone(),
            labeling: job.labeling.clone(),
            cursor: None,
            found: 0,
        };
        sender
            .send(requested.into())
            .await
            .context("the job is recorded but not begun: enqueue it again")
    }
    .instrument(span)
    .await
}

/// Follows a job to its end.
pub async fn wait(catalog: &dyn Catalog, job: JobId) -> Result<JobView> {
    let mut progress = output::Progress::new();
    loop {
        let view = view::job(catalog, job).await?;
        progress.show(&view);
        if view.state.is_final() {
            progress.finish();
            return Ok(view);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn print(view: &JobView, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(view)?);
    } else {
        println!("{}", output::job(view));
    }
    Ok(())
}

/// Absolute, because the services run in folders of their own.
fn folder(path: PathBuf) -> Result<Source> {
    if path.is_file() {
        bail!(
            "{} is a file: give its folder, or `maskline enqueue urls` for a list",
            path.display()
        );
    }
    Ok(Source::Folder {
        path: std::path::absolute(path)?,
    })
}

fn list_location(list: &str) -> Result<Location> {
    if list.starts_with("http://") || list.starts_with("https://") {
        return Ok(Location::Url(
            list.parse()
                .with_context(|| format!("{list} is no address"))?,
        ));
    }
    Ok(Location::Path(std::path::absolute(list)?))
}
