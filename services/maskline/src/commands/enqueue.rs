//! `maskline enqueue`: a source of images becomes a job.

mod label_args;
mod source_command;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use maskline_foundation::telemetry_names::{attribute, span};
use maskline_messages::{
    CollectionName, JobId, Label, Source, SourceRequested, SourceRole, SplitSettings,
};
use maskline_runtime::{Sender, telemetry};
use maskline_storage::{
    Catalog,
    records::{Collection, Job},
};
use strum::VariantNames;
use tracing::Instrument;

use self::{label_args::LabelArgs, source_command::SourceCommand};
use super::training_args::TrainArgs;
use crate::{
    collection_view,
    connection::ConnectionArgs,
    job_progress::{HINT_AFTER, JobProgress},
    job_summary,
    job_view::{self, JobView},
    output,
};

/// How often `--wait` reads the catalog.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  maskline enqueue folder photos/ --label-from folder --train --wait
  maskline enqueue folder photos/ --label-from folder --train linear_probe,mobilenet_v3_small
  maskline enqueue urls faces.csv --label-from column
  maskline enqueue urls laion.parquet --label-column class \\
    --label-map 1=with_mask,0=without_mask
  maskline enqueue page https://example.org/gallery --label with_mask \\
    --depth 2 --same-site
  maskline enqueue archive faces.tar.gz --label-from folder
  maskline enqueue s3 s3://bucket/faces --label-from folder
  maskline enqueue dataset face-masks/ --label-from column
  maskline enqueue search \"person wearing a face mask\" --provider openverse,commons \\
    --label with_mask --limit 2000")]
pub(crate) struct Enqueue {
    #[command(subcommand)]
    source: SourceCommand<JobArgs>,
}

#[derive(Debug, Args)]
struct JobArgs {
    #[command(flatten)]
    labels: LabelArgs,
    /// The collection that the images go into; it is made if there is none of that name
    #[arg(
        long,
        value_name = "NAME",
        env = "MASKLINE_COLLECTION",
        default_value_t
    )]
    collection: CollectionName,
    /// The classes of the collection; an image of another class is rejected
    #[arg(long, value_delimiter = ',', default_value = "with_mask,without_mask")]
    classes: Vec<Label>,
    /// What the images are used for: to train and to validate with, or for testing only
    #[arg(long, value_name = "ROLE", default_value_t, value_parser = roles())]
    role: SourceRole,
    /// Do not freeze the collection when the images are in it; `maskline freeze` does it later
    #[arg(long, conflicts_with = "train")]
    no_freeze: bool,
    #[command(flatten)]
    train: TrainArgs,
    /// The share of each class that goes to the validation split; a collection keeps the one
    /// that it was made with [default: 0.2]
    #[arg(long)]
    validation: Option<f64>,
    /// Wait until the collection is frozen and the runs on it have ended
    #[arg(long)]
    wait: bool,
    /// Print the job as one line of JSON
    #[arg(long)]
    json: bool,
    // These flags come last, because their heading is above all flags that follow.
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Enqueue {
    pub(crate) async fn run(self) -> Result<()> {
        let (source, args) = self.source.into_parts()?;
        let mut job = args.job(source)?;
        let collection = args.collection(job.settings.seed)?;
        let connections = args.connection.connect().await?;
        let catalog = connections.catalog();
        args.check_share(catalog).await?;
        job.settings.start = args.train.start(connections.stores()).await?;
        let collection = submit(&collection, &job, catalog, &connections.sender()).await?;
        if args.wait {
            let job = wait_for_end(connections.catalog(), job.id).await?;
            connections.close().await;
            let printed = match args.json {
                true => output::print_json(&job),
                false => output::print(job_summary::summary(&job)),
            };
            return output::told_above(job.succeeded(), args.json).and(printed);
        }
        let view = collection_view::view(catalog, collection).await?;
        connections.close().await;
        if args.json {
            return output::print_json(&serde_json::json!({ "id": job.id, "collection": view }));
        }
        output::print(job.id)?;
        output::note(format!(
            "It goes into the {}.\nFollow it with: maskline status {} --watch",
            view.sentence(),
            job.id
        ));
        Ok(())
    }
}

impl JobArgs {
    /// The job that the flags describe.
    fn job(&self, source: Source) -> Result<Job> {
        let labeling = self.labels.labeling(&source, &self.classes)?;
        Ok(Job {
            role: self.role,
            freeze: !self.no_freeze,
            train: self.train.methods.clone(),
            settings: self.train.choices()?,
            ..Job::new(self.collection.clone(), source, Some(labeling))
        })
    }

    /// Refuses another share for the validation split than the one that the collection has.
    async fn check_share(&self, catalog: &dyn Catalog) -> Result<()> {
        let recorded = catalog.collection(&self.collection).await?;
        match (self.validation, recorded) {
            (Some(wanted), Some(recorded)) if wanted != recorded.split.validation => bail!(
                "the collection {} has --validation {}: leave the flag out, or give another \
                 --collection",
                self.collection,
                recorded.split.validation
            ),
            _ => Ok(()),
        }
    }

    /// The collection that the flags describe, as it is if it is made now. `seed` is that of
    /// the split.
    fn collection(&self, seed: u64) -> Result<Collection> {
        let mut split = SplitSettings {
            seed,
            ..SplitSettings::default()
        };
        if let Some(validation) = self.validation {
            if !(0.0..1.0).contains(&validation) {
                bail!("--validation {validation} is not a share: give a number from 0 to below 1");
            }
            split.validation = validation;
        }
        let name = self.collection.clone();
        Ok(Collection::new(name, self.classes.clone(), split))
    }
}

/// Records the job in the catalog and asks the scraper to expand its source. Returns the
/// collection that it goes into, as it was before if there was one of that name.
///
/// The catalog comes first, so that every stage finds the collection and the job that a message
/// names.
pub(crate) async fn submit(
    collection: &Collection,
    job: &Job,
    catalog: &dyn Catalog,
    sender: &Sender,
) -> Result<Collection> {
    let span = tracing::info_span!(span::ENQUEUE, { attribute::JOB_ID } = %job.id);
    async {
        let recorded = catalog.create_collection(collection).await?;
        check_same(collection, &recorded)?;
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
            // Nobody else would ever end the job.
            let reason = format!("it was never sent: {error:#}");
            catalog.fail_job(job.id, &reason).await?;
            return Err(error).context("the job has not begun: enqueue it again");
        }
        Ok(recorded)
    }
    .instrument(span)
    .await
}

/// Refuses a source for a collection that has other classes.
fn check_same(wanted: &Collection, recorded: &Collection) -> Result<()> {
    if wanted.classes == recorded.classes {
        return Ok(());
    }
    let list = |collection: &Collection| {
        let classes: Vec<_> = collection.classes.iter().map(Label::as_str).collect();
        classes.join(",")
    };
    bail!(
        "the collection {} has the classes {}, and not {}: give --classes {}, or another \
         --collection",
        recorded.name,
        list(recorded),
        list(wanted),
        list(recorded)
    )
}

/// Parses a flag that says what the images of a source are used for.
fn roles() -> impl TypedValueParser<Value = SourceRole> {
    let names = PossibleValuesParser::new(SourceRole::VARIANTS);
    names.map(|name| name.parse().expect("it is one of the names"))
}

/// Shows the progress of a job until it has ended, and returns it as it is then.
pub(crate) async fn wait_for_end(catalog: &dyn Catalog, id: JobId) -> Result<JobView> {
    let mut progress = JobProgress::start();
    let began = Instant::now();
    let mut hinted = false;
    loop {
        let job = job_view::job(catalog, id).await?;
        progress.show(&job);
        if job.state.is_final() {
            progress.finish();
            return Ok(job);
        }
        let waits = job.counts.found == 0 && job.pause.is_none();
        if !hinted && waits && began.elapsed() >= HINT_AFTER {
            progress.note(
                "nothing of it is found yet. A source that can't be reached is tried again for some \
                 minutes: the services' log says so. If no services run, start them with \
                 `maskline run` and the same --data or --broker.",
            );
            hinted = true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use maskline_messages::Method;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        job: JobArgs,
    }

    #[test]
    fn training_without_a_name_is_the_linear_probe() {
        let trained = |args: &[&str]| {
            let label = ["enqueue", "--label", "with_mask"];
            let cli = Cli::try_parse_from(label.iter().chain(args))?;
            Ok::<_, clap::Error>(cli.job.train.methods)
        };
        assert_eq!(trained(&[]).unwrap(), []);
        assert_eq!(trained(&["--train"]).unwrap(), [Method::LinearProbe]);
        let both = trained(&["--train", "linear_probe,mnasnet1_0", "--wait"]);
        let expected = ["linear_probe", "mnasnet1_0"].map(|name| name.parse().unwrap());
        assert_eq!(both.unwrap(), expected);
        let refused = trained(&["--train", "resnet"]).unwrap_err().to_string();
        assert!(refused.contains("linear_probe, mobilenet_v2"), "{refused}");
    }
}
