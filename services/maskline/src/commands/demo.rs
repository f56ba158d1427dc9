//! `maskline demo`: everything at once on drawn faces.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, ValueEnum};
use maskline_messages::{
    JobId, Labeling, Location, NetworkName, ObjectKey, Source, TrainingSettings,
};
use maskline_runtime::Sender;
use maskline_storage::records::{Job, JobState, SplitSettings, now};

use super::{
    enqueue, models,
    run::{ServiceName, Services},
};
use crate::{
    demo::site::{CLASSES, Recipe, Site},
    job_summary, lookup, output,
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
    /// The networks to train: mobilenet_v2, mobilenet_v3_small, mnasnet1_0,
    /// efficientnet_b0
    #[arg(
        long,
        value_name = "NETWORKS",
        value_delimiter = ',',
        default_value = "mobilenet_v3_small"
    )]
    train: Vec<NetworkName>,
    /// How often a network sees each training image
    #[arg(long, default_value_t = EPOCHS,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    epochs: u32,
    /// The seed of the drawing, the split and the training
    #[arg(long, default_value_t = Recipe::default().seed)]
    seed: u64,
    /// Print only the job, as one line of JSON at the end
    #[arg(long)]
    json: bool,
}

/// So many epochs are enough for drawn faces, and take at most two minutes on two cores.
const EPOCHS: u32 = 24;

/// Drawn faces are simple: an input smaller than usual is enough.
const PIXELS: u32 = 80;

/// A command line of nothing but the services' flags.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    services: Services,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<()> {
        let began = Instant::now();
        let services = self.services()?;
        let stop = maskline_runtime::stop_on_signals()?;
        let say = |text: String| match self.json {
            true => Ok(()),
            false => output::print(text),
        };
        let recipe = Recipe {
            faces: self.faces,
            dirt: self.dirt,
            seed: self.seed,
        };
        let site = tokio::task::spawn_blocking(move || Site::draw(recipe)).await?;
        let (candidates, stored, rejected) =
            (site.candidates(), site.stored, site.rejected.clone());
        let list = site.serve().await?;
        say(format!(
            "Drew {candidates} files, good and bad, and serve them at {list}"
        ))?;

        let broker = services.runtime.at.open_broker().await?;
        let stores = services.storage.open(&services.runtime.at.data).await?;
        let started = services.start(ServiceName::value_variants()).await?;
        say(format!(
            "Five services run in this process; everything lies in {}",
            self.data.display()
        ))?;
        let mut running = {
            let (args, broker, stop) = (services.runtime.clone(), broker.clone(), stop.clone());
            tokio::spawn(async move { maskline_runtime::run(started, &args, broker, stop).await })
        };

        let job = self.job(Location::Url(list));
        let catalog = stores.catalog.as_ref();
        enqueue::submit(&job, catalog, &Sender::new(broker.clone())).await?;
        let ended = tokio::select! {
            view = stop.run_until_cancelled(enqueue::wait_for_end(catalog, job.id)) => {
                stop.cancel();
                (&mut running).await.context("the services failed")??;
                view.context("the demo was stopped before its end: `maskline run` goes on with its job")?
            }
            stopped = &mut running => {
                stopped.context("the services failed")??;
                bail!("the services stopped before the end: `maskline run` goes on with the job")
            }
        };
        broker.close().await;
        let view = ended?;

        let all = stores.catalog.models(lookup::ALL).await?;
        let trained: Vec<_> = all
            .into_iter()
            .filter(|model| view.runs.iter().any(|run| run.id == model.id))
            .collect();
        let printed = if self.json {
            output::print_json(&view)
        } else {
            let mut text = format!(
                "\n{}\n\n{}\n",
                job_summary::summary(&view),
                models::table(&trained)
            );
            for model in &trained {
                let report = ObjectKey::model(model.id, "report.html")?;
                text += &format!("The report: {}\n", stores.objects.locate(&report));
            }
            let seconds = began.elapsed().as_secs_f64();
            output::print(format!("{text}Done in {seconds:.0} s."))
        };
        view.succeeded()?;
        if view.counts.stored != stored || view.counts.rejected != rejected.values().sum::<u64>() {
            bail!(
                "the counts are not those of what was drawn: expected were {stored} stored images, \
                 and rejected {rejected:?}"
            );
        }
        printed
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

    fn job(&self, list: Location) -> Job {
        let settings = TrainingSettings {
            epochs: self.epochs,
            pixels: PIXELS,
            seed: self.seed,
            ..TrainingSettings::default()
        };
        Job {
            id: JobId::draw(),
            source: Source::Urls { list },
            labeling: Some(Labeling::Column),
            classes: CLASSES
                .map(|class| class.parse().expect("a plain name"))
                .to_vec(),
            train: self.train.clone(),
            split: SplitSettings {
                seed: self.seed,
                ..SplitSettings::default()
            },
            settings,
            state: JobState::Expanding,
            error: None,
            dataset: None,
            replayed: None,
            traceparent: None,
            created: now(),
        }
    }
}
