//! `maskline enqueue`: a source of images becomes a job.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

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
    view::{self, JobView},
};

/// How often `--wait` looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// After how long `--wait` wonders that nothing is found.
const LONG: Duration = Duration::from_secs(10);

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
        /// The folder
        path: PathBuf,
        #[command(flatten)]
        order: Order,
    },
    /// A list of URLs: text with one a line, or CSV with a column `url` and perhaps `label`
    Urls {
        /// A file that the scraper sees, or an http(s) address
        #[arg(value_name = "FILE|URL")]
        list: String,
        #[command(flatten)]
        order: Order,
    },
    /// A web page, for the images in it
    Page {
        /// Its http(s) address
        url: String,
        #[command(flatten)]
        order: Order,
    },
}

#[derive(Debug, Args)]
struct Order {
    /// Everything in the source is of this class
    #[arg(long, conflicts_with = "label_from")]
    label: Option<Label>,
    /// Take each image's class from its folder's name, or from the list's column `label`
    #[arg(long, value_enum)]
    label_from: Option<LabelFrom>,
    /// The classes that there are; an image of another is rejected
    #[arg(long, value_delimiter = ',', default_value = "with_mask,without_mask")]
    classes: Vec<Label>,
    /// Train these networks when the dataset is frozen: mobilenet_v2,
    /// mobilenet_v3_small, mnasnet1_0, efficientnet_b0
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
    // The last, because its heading is over all that follows.
    #[command(flatten)]
    places: Places,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LabelFrom {
    /// The folder that the image lies in
    Folder,
    /// The column `label` of a list
    Column,
}

/// What a training run is asked for.
#[derive(Debug, Clone, Args)]
pub struct SettingsArgs {
    /// How often the network sees each training image
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
    /// How strongly weights are drawn to zero
    #[arg(long, default_value_t = TrainingSettings::default().weight_decay)]
    weight_decay: f32,
    /// Of the split, the augmentation and the training
    #[arg(long, default_value_t = TrainingSettings::default().seed)]
    seed: u64,
}

impl SettingsArgs {
    /// Refuses at once what no trainer takes.
    pub fn settings(&self) -> Result<TrainingSettings> {
        let settings = TrainingSettings {
            epochs: self.epochs,
            batch: self.batch,
            pixels: self.pixels,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            seed: self.seed,
            ..TrainingSettings::default()
        };
        maskline_trainer::hopeless::check(&settings)?;
        Ok(settings)
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
            SourceArg::Page { url, order } => (
                Source::Page {
                    url: web_address(&url)?,
                },
                order,
            ),
        };
        let job = order.job(source)?;
        let connections = order.places.connect().await?;
        enqueue(&job, connections.catalog(), &connections.sender()).await?;
        if order.wait {
            let view = wait(connections.catalog(), job.id).await?;
            connections.close().await;
            let printed = print(&view, order.json);
            return view.succeeded().and(printed);
        }
        connections.close().await;
        if order.json {
            return output::print(serde_json::json!({ "id": job.id }));
        }
        output::print(job.id)?;
        output::note(format!(
            "Follow it with: maskline status {} --watch",
            job.id
        ));
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
            (None, Some(LabelFrom::Column)) if matches!(source, Source::Urls { .. }) => {
                Some(Labeling::Column)
            }
            (None, Some(LabelFrom::Column)) => {
                bail!("only a list has a column: give --label CLASS or --label-from folder")
            }
            (None, None) => {
                bail!("every image needs a class: give --label CLASS or --label-from folder|column")
            }
        };
        let settings = self.settings.settings()?;
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
            replayed: None,
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
        if let Err(error) = sender.send(requested.into()).await {
            // Or it would be expanding for ever.
            let why = format!("it was never sent: {error}");
            catalog.fail_job(job.id, &why).await?;
            return Err(error).context("the job is not begun: enqueue it again");
        }
        Ok(())
    }
    .instrument(span)
    .await
}

/// Follows a job to its end.
pub async fn wait(catalog: &dyn Catalog, job: JobId) -> Result<JobView> {
    let mut progress = output::Progress::new();
    let began = Instant::now();
    let mut wondered = false;
    loop {
        let view = view::job(catalog, job).await?;
        progress.show(&view);
        if view.state.is_final() {
            progress.finish();
            return Ok(view);
        }
        if !wondered && view.books.found == 0 && began.elapsed() >= LONG {
            progress.say(
                "nothing takes the job: is `maskline run` running with the same --data or --broker?",
            );
            wondered = true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn print(view: &JobView, json: bool) -> Result<()> {
    match json {
        true => output::print_json(view),
        false => output::print(output::job(view)),
    }
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
    if list.contains("://") {
        return Ok(Location::Url(web_address(list)?));
    }
    if Path::new(list).is_dir() {
        bail!("{list} is a folder: give a list, or `maskline enqueue folder` for its images");
    }
    Ok(Location::Path(std::path::absolute(list)?))
}

/// An address that the scraper fetches. No error repeats it: it may hold a password.
fn web_address(text: &str) -> Result<Url> {
    let url = Url::parse(text).ok();
    let url = url
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .context("no http(s) address: write https://… or http://…")?;
    if url.password().is_some() {
        bail!(
            "an address with a password shows in the list of processes: fetch what lies there \
             yourself, and enqueue the file or the folder"
        );
    }
    Ok(url)
}
