//! `maskline demo`: everything at once on drawn faces.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, ValueEnum};
use maskline_messages::{
    CollectionName, Method, ObjectKey, SourceRole, SplitSettings, TrainingChoices,
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
    training_args::method_names,
};
use crate::{
    demo::{
        site::{CLASSES, Recipe, Site},
        sources::{self, DemoSource},
    },
    job_summary,
    job_view::JobView,
    lookup, output,
};

/// Searches for faces with masks, searches for faces without, takes a page and a list, and trains a
/// linear probe and a network on all of them. The faces are drawn and mixed with dirt, and a web site on this machine
/// serves them. With --online, real providers are searched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  maskline demo
  maskline demo --online --contact you@example.org")]
pub(crate) struct Demo {
    /// The folder in which the demo keeps everything
    #[arg(
        long,
        env = "MASKLINE_DATA",
        value_name = "FOLDER",
        default_value = "./maskline-data"
    )]
    data: PathBuf,
    /// Search the web at Openverse and Wikimedia Commons in place of drawing faces. The images are
    /// photographs of people under free licences, and their classes are what was searched for, so
    /// that some are wrong
    #[arg(long, conflicts_with_all = ["faces", "dirt"])]
    online: bool,
    /// An address of yours that the sites can reach you at, with --online
    #[arg(
        long,
        requires = "online",
        env = "MASKLINE_CONTACT",
        value_name = "ADDRESS"
    )]
    contact: Option<String>,
    /// The number of faces to draw of each class
    #[arg(long, default_value_t = Recipe::default().faces,
        value_parser = clap::value_parser!(u32).range(10..=100_000))]
    faces: u32,
    /// The number of files of each kind of dirt
    #[arg(long, default_value_t = Recipe::default().dirt)]
    dirt: u32,
    /// What to train: networks, or a linear probe, which takes seconds
    #[arg(
        long,
        value_parser = method_names(),
        value_name = "NETWORKS",
        value_delimiter = ',',
        default_value = "linear_probe,mobilenet_v3_small"
    )]
    train: Vec<Method>,
    /// The number of epochs: how often a network sees each training image
    #[arg(long, default_value_t = EPOCHS)]
    epochs: u32,
    /// The seed of the drawing, the split and the training
    #[arg(long, default_value_t = Recipe::default().seed)]
    seed: u64,
    /// Print only the jobs, each as one line of JSON, at the end
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
        settings.validate(&self.train)?;
        let stop = maskline_runtime::stop_on_signals()?;
        let (sources, services, expected) = match self.online {
            true => (sources::online(), self.services(&[])?, None),
            false => self.drawn().await?,
        };
        let stores = services
            .storage
            .open(&services.runtime.connection.data)
            .await?;
        let name = free_name(&*stores.catalog).await?;
        let collection = self.collection(name.clone());
        let jobs = self.jobs(&name, sources, &settings);
        self.print(announcement(&jobs))?;
        let jobs = self
            .run_jobs(&collection, &jobs, &services, &stores, stop)
            .await?;
        let printed = match self.json {
            true => jobs.iter().try_for_each(output::print_json),
            false => output::print(result(&jobs, &stores, began).await?),
        };
        jobs.iter().try_for_each(JobView::succeeded)?;
        if let Some(expected) = expected {
            expected.check(&jobs)?;
        }
        printed
    }

    /// Draws the faces and serves them. Returns the sources that name them, the services that may
    /// fetch them, and what must become of them.
    async fn drawn(&self) -> Result<(Vec<DemoSource>, Services, Option<Expected>)> {
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
        let site = site.serve().await?;
        self.print(format!(
            "Drew {candidates} files, good and bad. They are served at {}",
            site.base
        ))?;
        let base = site.base.as_str();
        let local = [
            "--allow-private-hosts",
            "--per-host",
            "32",
            "--per-host-rate",
            "1000000",
            "--openverse-url",
            base,
        ];
        let services = self.services(&local)?;
        Ok((sources::offline(&site), services, Some(expected)))
    }

    /// Prints what the demo is doing, unless it is to print JSON.
    fn print(&self, text: String) -> Result<()> {
        match self.json {
            true => Ok(()),
            false => output::print(text),
        }
    }

    /// Runs the services until the jobs have ended, and returns them as they are then. All jobs are
    /// enqueued before the services start, so that the collection is frozen once.
    async fn run_jobs(
        &self,
        collection: &Collection,
        jobs: &[Job],
        services: &Services,
        stores: &Stores,
        stop: CancellationToken,
    ) -> Result<Vec<JobView>> {
        let broker = services.runtime.connection.open_broker().await?;
        let catalog = stores.catalog.as_ref();
        for job in jobs {
            enqueue::submit(collection, job, catalog, &Sender::new(broker.clone())).await?;
        }
        let started = services.start(ServiceName::value_variants()).await?;
        self.print(format!(
            "Five services run in this process; everything is kept in {}",
            self.data.display()
        ))?;
        let mut running = {
            let (args, broker, stop) = (services.runtime.clone(), broker.clone(), stop.clone());
            tokio::spawn(async move { maskline_runtime::run(started, &args, broker, stop).await })
        };
        let waiting = async {
            let mut ended = vec![];
            for job in jobs {
                ended.push(enqueue::wait_for_end(catalog, job.id).await?);
            }
            Ok(ended)
        };
        let ended = tokio::select! {
            ended = stop.run_until_cancelled(waiting) => {
                stop.cancel();
                (&mut running).await.context("the services failed")??;
                ended.context("the demo was stopped before its end: `maskline run` goes on with its jobs")?
            }
            stopped = &mut running => {
                stopped.context("the services failed")??;
                bail!("the services stopped before the end: `maskline run` goes on with the jobs")
            }
        };
        broker.close().await;
        ended
    }

    /// The services with their own defaults, except for what the demo needs, and for `more` flags.
    fn services(&self, more: &[&str]) -> Result<Services> {
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
        ];
        let contact = self.contact.as_deref();
        let contact = contact.map(|contact| ["--contact", contact]);
        let contact = contact.iter().flatten().copied();
        let flags = flags.into_iter().chain(contact);
        let flags = flags.chain(more.iter().copied());
        Ok(Flags::try_parse_from(flags)?.services)
    }

    fn settings(&self) -> TrainingChoices {
        TrainingChoices {
            epochs: Some(self.epochs),
            pixels: (!self.online).then_some(PIXELS),
            seed: self.seed,
            ..TrainingChoices::default()
        }
    }

    /// A job of each source, in this order. The last one asks for the training.
    fn jobs(
        &self,
        name: &CollectionName,
        sources: Vec<DemoSource>,
        settings: &TrainingChoices,
    ) -> Vec<Job> {
        let last = sources.len().saturating_sub(1);
        let sources = sources.into_iter().enumerate();
        let job = |(place, source): (usize, DemoSource)| Job {
            role: source.role,
            train: match place == last {
                true => self.train.clone(),
                false => vec![],
            },
            settings: settings.clone(),
            ..Job::new(name.clone(), source.source, Some(source.labeling))
        };
        sources.map(job).collect()
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
    fn check(&self, jobs: &[JobView]) -> Result<()> {
        let Self { stored, rejected } = self;
        let expected = rejected
            .iter()
            .map(|(&code, &count)| (code.to_owned(), count));
        let expected: BTreeMap<String, u64> = expected.filter(|&(_, count)| count > 0).collect();
        let found: u64 = jobs.iter().map(|job| job.counts.stored).sum();
        if found != *stored || job_summary::rejected(jobs) != expected {
            bail!(
                "the counts are not those of what was drawn: expected were {stored} stored images, \
                 and rejected {rejected:?}"
            );
        }
        Ok(())
    }
}

/// What is enqueued.
fn announcement(jobs: &[Job]) -> String {
    let source = |job: &Job| match job.role {
        SourceRole::Train => format!("\n  {}", job.source),
        SourceRole::Test => format!("\n  {} (only to test with)", job.source),
    };
    let sources: String = jobs.iter().map(source).collect();
    let collection = jobs.first().map_or("", |job| job.collection.as_str());
    format!("These sources go into the collection {collection}:{sources}")
}

/// The jobs, their models, and where their reports are.
async fn result(jobs: &[JobView], stores: &Stores, began: Instant) -> Result<String> {
    let mut models = stores.catalog.models(lookup::ALL).await?;
    let runs = || jobs.iter().flat_map(|job| &job.runs);
    models.retain(|model| runs().any(|run| run.id == model.id));
    let versions = lookup::versions(&*stores.catalog).await?;
    let table = models::table(&models, &versions);
    let summary = job_summary::of_several(jobs);
    let mut text = format!("\n{summary}\n\n{table}\n");
    for model in &models {
        let report = ObjectKey::model_report_page(model.id);
        text += &format!("The report: {}\n", stores.objects.locate(&report));
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!("{text}Done in {seconds:.0} s."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        demo: Demo,
    }

    fn demo(args: &[&str]) -> Result<Demo, clap::Error> {
        Ok(Cli::try_parse_from([&["demo"], args].concat())?.demo)
    }

    #[test]
    fn online_the_real_providers_are_asked_with_the_usual_manners() {
        let online = demo(&["--online", "--contact", "me@example.org"]).unwrap();
        let services = online.services(&[]).unwrap();
        assert_eq!(services.search.openverse_url.scheme(), "https");
        assert_eq!(services.search.commons_url.scheme(), "https");
        let name: CollectionName = "demo".parse().unwrap();
        let jobs = online.jobs(&name, sources::online(), &online.settings());
        let trained: Vec<bool> = jobs.iter().map(|job| !job.train.is_empty()).collect();
        assert_eq!(trained, [false, true], "one version, and one run on it");
        assert!(jobs.iter().all(|job| job.freeze && job.collection == name));
        assert_eq!(
            jobs[0].settings.pixels, None,
            "photographs are not as simple as drawings"
        );
        assert!(demo(&["--online", "--faces", "20"]).is_err());
    }
}
