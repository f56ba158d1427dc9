//! `maskline demo`: everything at once on drawn faces.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, ValueEnum};
use maskline_messages::{
    CollectionName, Labeling, Location, NetworkName, ObjectKey, Source, SplitSettings,
    TrainingSettings,
};
use maskline_runtime::Sender;
use maskline_storage::{
    Catalog, Stores,
    records::{Collection, Job},
};
use tokio_util::sync::CancellationToken;

use super::{
    enqueue, models,
    run::{ServiceName, Services},
    training_args::network_names,
};
use crate::{
    demo::site::{CLASSES, Recipe, Site},
    job_summary,
    job_view::JobView,
    lookup, output,
};

/// Draws faces with and without masks, mixes dirt in, serves them over HTTP on
/// this machine and sends them through the whole pipeline.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The folder in which the demo keeps everything
    #[arg(
        long,
        env = "MASKLINE_DATA",
        value_name = "FOLDER",
        default_value = "./maskline-data"
    )]
    data: PathBuf,
    /// The number of faces to draw of each class
    #[arg(long, default_value_t = Recipe::default().faces,
        value_parser = clap::value_parser!(u32).range(10..=100_000))]
    faces: u32,
    /// The number of files of each kind of dirt
    #[arg(long, default_value_t = Recipe::default().dirt)]
    dirt: u32,
    /// The networks to train
    #[arg(
        long,
        value_parser = network_names(),
        value_name = "NETWORKS",
        value_delimiter = ',',
        default_value = "mobilenet_v3_small"
    )]
    train: Vec<NetworkName>,
    /// The number of epochs: how often a network sees each training image
    #[arg(long, default_value_t = EPOCHS)]
    epochs: u32,
    /// The seed of the drawing, the split and the training
    #[arg(long, default_value_t = Recipe::default().seed)]
    seed: u64,
    /// Print only the job, as one line of JSON at the end
    #[arg(long)]
    json: bool,
}

/// This many epochs are enough for drawn faces, and take at most two minutes on two cores.
const EPOCHS: u32 = 24;

/// Drawn faces are simple: an input smaller than usual is enough.
const PIXELS: u32 = 80;

/// A command line of nothing but the services' flags.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    services: Services,
}

/// The counts that the pipeline must come to.
struct Expected {
    stored: u64,
    /// The number of rejected candidates by the code of the reason.
    rejected: BTreeMap<&'static str, u64>,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<()> {
        let began = Instant::now();
        let settings = self.settings();
        settings.validate()?;
        let services = self.services()?;
        let stop = maskline_runtime::stop_on_signals()?;
        let recipe = Recipe {
            faces: self.faces,
            dirt: self.dirt,
            seed: self.seed,
        };
        let site = tokio::task::spawn_blocking(move || Site::draw(recipe)).await?;
        let candidates = site.candidates();
        let expected = Expected {
            stored: site.stored,
            rejected: site.rejected.clone(),
        };
        let list = site.serve().await?;
        self.print(format!(
            "Drew {candidates} files, good and bad. They are served at {list}"
        ))?;
        let stores = services
            .storage
            .open(&services.runtime.connection.data)
            .await?;
        let name = free_name(&*stores.catalog).await?;
        let collection = self.collection(name.clone());
        let job = self.job(name, Location::Url(list), settings);
        let job = self
            .run_job(&collection, &job, &services, &stores, stop)
            .await?;
        let printed = match self.json {
            true => output::print_json(&job),
            false => output::print(result(&job, &stores, began).await?),
        };
        job.succeeded()?;
        expected.check(&job)?;
        printed
    }

    /// Prints what the demo is doing, unless it is to print JSON.
    fn print(&self, text: String) -> Result<()> {
        match self.json {
            true => Ok(()),
            false => output::print(text),
        }
    }

    /// Runs the services until the job has ended, and returns it as it is then.
    async fn run_job(
        &self,
        collection: &Collection,
        job: &Job,
        services: &Services,
        stores: &Stores,
        stop: CancellationToken,
    ) -> Result<JobView> {
        let broker = services.runtime.connection.open_broker().await?;
        let started = services.start(ServiceName::value_variants()).await?;
        self.print(format!(
            "Five services run in this process; everything is kept in {}",
            self.data.display()
        ))?;
        let mut running = {
            let (args, broker, stop) = (services.runtime.clone(), broker.clone(), stop.clone());
            tokio::spawn(async move { maskline_runtime::run(started, &args, broker, stop).await })
        };
        let catalog = stores.catalog.as_ref();
        enqueue::submit(collection, job, catalog, &Sender::new(broker.clone())).await?;
        let ended = tokio::select! {
            ended = stop.run_until_cancelled(enqueue::wait_for_end(catalog, job.id)) => {
                stop.cancel();
                (&mut running).await.context("the services failed")??;
                ended.context("the demo was stopped before its end: `maskline run` goes on with its job")?
            }
            stopped = &mut running => {
                stopped.context("the services failed")??;
                bail!("the services stopped before the end: `maskline run` goes on with the job")
            }
        };
        broker.close().await;
        ended
    }

    /// The services with their own defaults, except for what the demo needs.
    fn services(&self) -> Result<Services> {
        let data = self.data.to_str().context("--data must be UTF-8")?;
        let flags = [
            "services",
            "--data",
            data,
            "--broker",
            "embedded:",
            "--objects",
            "file:",
            "--catalog",
            "sqlite:",
            "--http",
            "off",
            "--allow-private-hosts",
            "--per-host",
            "32",
            "--per-host-rate",
            "1000000",
        ];
        Ok(Flags::try_parse_from(flags)?.services)
    }

    fn settings(&self) -> TrainingSettings {
        TrainingSettings {
            epochs: self.epochs,
            pixels: PIXELS,
            seed: self.seed,
            ..TrainingSettings::default()
        }
    }

    fn job(&self, name: CollectionName, list: Location, settings: TrainingSettings) -> Job {
        let source = Source::Urls {
            list,
            url_column: None,
        };
        Job {
            train: self.train.clone(),
            settings,
            ..Job::new(name, source, Some(Labeling::column()))
        }
    }

    fn collection(&self, name: CollectionName) -> Collection {
        let classes = CLASSES.map(|class| class.parse().expect("a plain name"));
        let split = SplitSettings {
            seed: self.seed,
            ..SplitSettings::default()
        };
        Collection::new(name, classes.to_vec(), split)
    }
}

/// The first of the names `demo`, `demo-2`, `demo-3` … that no collection has. Each demo has a
/// collection of its own, because it compares what is in it with what it drew.
async fn free_name(catalog: &dyn Catalog) -> Result<CollectionName> {
    let mut name: CollectionName = "demo".parse()?;
    let mut number = 1;
    while catalog.collection(&name).await?.is_some() {
        number += 1;
        name = format!("demo-{number}").parse()?;
    }
    Ok(name)
}

impl Expected {
    fn check(&self, job: &JobView) -> Result<()> {
        let Self { stored, rejected } = self;
        let counts = &job.counts;
        if counts.stored != *stored || counts.rejected != rejected.values().sum::<u64>() {
            bail!(
                "the counts are not those of what was drawn: expected were {stored} stored images, \
                 and rejected {rejected:?}"
            );
        }
        Ok(())
    }
}

/// The job, its models, and where their reports are.
async fn result(job: &JobView, stores: &Stores, began: Instant) -> Result<String> {
    let mut models = stores.catalog.models(lookup::ALL).await?;
    models.retain(|model| job.runs.iter().any(|run| run.id == model.id));
    let (summary, table) = (job_summary::summary(job), models::table(&models));
    let mut text = format!("\n{summary}\n\n{table}\n");
    for model in &models {
        let report = ObjectKey::model_report_page(model.id);
        text += &format!("The report: {}\n", stores.objects.locate(&report));
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!("{text}Done in {seconds:.0} s."))
}
