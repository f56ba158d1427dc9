//! `maskline enqueue`: a source of images becomes a job.

mod label_args;
mod source_command;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use maskline_foundation::telemetry_names::{attribute, span};
use maskline_messages::{JobId, Label, NetworkName, Source, SourceRequested};
use maskline_runtime::{Sender, telemetry};
use maskline_storage::{
    Catalog,
    records::{Job, JobState, SplitSettings, now},
};
use tracing::Instrument;

use self::{label_args::LabelArgs, source_command::SourceCommand};
use super::training_args::{TrainingArgs, network_names};
use crate::{
    connection::ConnectionArgs,
    job_progress::JobProgress,
    job_summary,
    job_view::{self, JobView},
    output,
};

/// How often `--wait` reads the catalog.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How long `--wait` lets a job find nothing before it asks whether services run.
const NO_SERVICE_HINT_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  maskline enqueue folder photos/ --label-from folder --train mobilenet_v3_small --wait
  maskline enqueue urls faces.csv --label-from column
  maskline enqueue urls laion.parquet --label-column class --label-map 1=with_mask,0=without_mask
  maskline enqueue page https://example.org/gallery --label with_mask --depth 2 --same-site
  maskline enqueue archive faces.tar.gz --label-from folder
  maskline enqueue s3 s3://bucket/faces --label-from folder
  maskline enqueue dataset face-masks/ --label-from column")]
pub(crate) struct Enqueue {
    #[command(subcommand)]
    source: SourceCommand<JobArgs>,
}

#[derive(Debug, Args)]
struct JobArgs {
    #[command(flatten)]
    labels: LabelArgs,
    /// The classes of the dataset; an image of another class is rejected
    #[arg(long, value_delimiter = ',', default_value = "with_mask,without_mask")]
    classes: Vec<Label>,
    /// The networks to train when the dataset is frozen
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', value_parser = network_names())]
    train: Vec<NetworkName>,
    #[command(flatten)]
    training: TrainingArgs,
    /// The share of each class that goes to the validation split
    #[arg(long, default_value_t = SplitSettings::default().validation)]
    validation: f64,
    /// Wait until the dataset is frozen and its runs have ended
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
        let job = args.job(source)?;
        let connections = args.connection.connect().await?;
        submit(&job, connections.catalog(), &connections.sender()).await?;
        if args.wait {
            let job = wait_for_end(connections.catalog(), job.id).await?;
            connections.close().await;
            let printed = match args.json {
                true => output::print_json(&job),
                false => output::print(job_summary::summary(&job)),
            };
            return job.succeeded().and(printed);
        }
        connections.close().await;
        if args.json {
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

impl JobArgs {
    /// The job that the flags describe.
    fn job(&self, source: Source) -> Result<Job> {
        if !(0.0..1.0).contains(&self.validation) {
            bail!(
                "--validation {} is not a share: give a number from 0 to below 1",
                self.validation
            );
        }
        let labeling = self.labels.labeling(&source, &self.classes)?;
        let settings = self.training.settings()?;
        Ok(Job {
            id: JobId::draw(),
            source,
            labeling: Some(labeling),
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

/// Records the job in the catalog and asks the scraper to expand its source.
///
/// The catalog comes first, so that every stage finds the job that a message names.
pub(crate) async fn submit(job: &Job, catalog: &dyn Catalog, sender: &Sender) -> Result<()> {
    let span = tracing::info_span!(span::ENQUEUE, { attribute::JOB_ID } = %job.id);
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
            // Nobody else would ever end the job.
            let reason = format!("it was never sent: {error:#}");
            catalog.fail_job(job.id, &reason).await?;
            return Err(error).context("the job has not begun: enqueue it again");
        }
        Ok(())
    }
    .instrument(span)
    .await
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
        if !hinted && job.counts.found == 0 && began.elapsed() >= NO_SERVICE_HINT_AFTER {
            progress.note(
                "no service has begun the job: does `maskline run` run with the same --data or \
                 --broker?",
            );
            hinted = true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
