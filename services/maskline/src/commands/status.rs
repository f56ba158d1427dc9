//! `maskline status`: how far the jobs are.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::{
    connection::ConnectionArgs,
    job_summary,
    job_view::{self, JobView},
    lookup, output,
};

/// How often `--watch` reads the catalog.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The id of a job or its beginning (default: the newest jobs)
    job: Option<String>,
    /// Print again every second, until the job has ended
    #[arg(long)]
    watch: bool,
    /// Print each job as one line of JSON
    #[arg(long)]
    json: bool,
    /// The most jobs that are listed, the newest first
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Status {
    pub(crate) async fn run(self) -> Result<()> {
        let stores = self.connection.stores().await?;
        let catalog = stores.catalog.as_ref();
        loop {
            let jobs = match &self.job {
                Some(job) => {
                    let id = lookup::job(catalog, job).await?;
                    vec![job_view::job(catalog, id).await?]
                }
                None => job_view::jobs(catalog, self.limit).await?,
            };
            self.print(&jobs)?;
            if !self.watch || jobs.iter().all(|job| job.state.is_final()) {
                return Ok(());
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }

    fn print(&self, jobs: &[JobView]) -> Result<()> {
        if self.json {
            return jobs.iter().try_for_each(output::print_json);
        }
        match jobs {
            [] => output::print("No jobs yet: `maskline enqueue --help` says how to begin one."),
            [job] => output::print(job_summary::summary(job)),
            jobs => output::print(job_summary::overview(jobs)),
        }
    }
}
