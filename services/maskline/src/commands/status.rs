//! `maskline status`, `rejects`: what became of jobs and images.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use comfy_table::Cell;
use maskline_messages::{JobId, Reason};
use maskline_storage::{
    Catalog,
    records::{Candidate, CandidateState},
};

use crate::{
    output::{self, number},
    places::Places,
    view::{self, JobView},
};

/// Candidates that are asked for at a time.
const PAGE: usize = 1_000;

#[derive(Debug, Args)]
pub struct Status {
    /// A job's id, or its beginning; all of the newest jobs without
    job: Option<String>,
    /// Show again every second, until the job has ended
    #[arg(long)]
    watch: bool,
    /// One JSON object a line, a line a job
    #[arg(long)]
    json: bool,
    /// The most jobs that are listed, the newest first
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    places: Places,
}

impl Status {
    pub async fn run(self) -> Result<()> {
        let stores = self.places.stores().await?;
        let catalog = stores.catalog.as_ref();
        loop {
            let views = match &self.job {
                Some(job) => vec![view::job(catalog, find_job(catalog, job).await?).await?],
                None => view::jobs(catalog, self.limit).await?,
            };
            self.print(&views)?;
            if !self.watch || views.iter().all(|view| view.state.is_final()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn print(&self, views: &[JobView]) -> Result<()> {
        if self.json {
            return views.iter().try_for_each(output::print_json);
        }
        match views {
            [] => output::print("No jobs yet: `maskline enqueue --help` says how to begin one."),
            [view] => output::print(output::job(view)),
            views => output::print(overview(views)),
        }
    }
}

fn overview(views: &[JobView]) -> comfy_table::Table {
    let mut table = output::table(&[
        "job",
        "source",
        "state",
        "found",
        "stored",
        "rejected",
        "failed",
        "in flight",
    ]);
    for view in views {
        let books = &view.books;
        let counts = [
            books.found,
            books.stored,
            books.rejected,
            books.failed,
            books.in_flight,
        ];
        let about = [
            view.id.to_string(),
            view.source.clone(),
            view.state.name().to_owned(),
        ];
        table.add_row(about.map(Cell::new).into_iter().chain(counts.map(number)));
    }
    table
}

/// The job whose id begins with `text`.
pub async fn find_job(catalog: &dyn Catalog, text: &str) -> Result<JobId> {
    let jobs = match text.parse() {
        Ok(id) if catalog.job(id).await?.is_some() => return Ok(id),
        Ok(_) => vec![],
        Err(_) => catalog.jobs(usize::MAX >> 1).await?,
    };
    view::by_prefix(
        text,
        "job",
        "maskline status",
        jobs.iter().map(|job| job.id),
    )
}

#[derive(Debug, Args)]
pub struct Rejects {
    /// A job's id, or its beginning
    job: String,
    /// One JSON object a line, a line a candidate
    #[arg(long)]
    json: bool,
    /// Only those rejected for this reason, such as `blurred`
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    places: Places,
}

impl Rejects {
    /// Prints a line for each candidate that was rejected or given up.
    pub async fn run(self) -> Result<()> {
        let stores = self.places.stores().await?;
        let catalog = stores.catalog.as_ref();
        let job = find_job(catalog, &self.job).await?;
        if let Some(wanted) = &self.reason {
            let reasons = catalog.counts(job).await?.rejected_by_reason;
            if !reasons.contains_key(wanted) {
                let codes: Vec<&str> = reasons.keys().map(String::as_str).collect();
                let there_are = match codes.as_slice() {
                    [] => "nothing was rejected".to_owned(),
                    codes => format!("its reasons are {}", codes.join(", ")),
                };
                output::note(format!(
                    "Job {job} rejected nothing for {wanted}: {there_are}."
                ));
                return Ok(());
            }
        }
        for state in [CandidateState::Rejected, CandidateState::Failed] {
            let mut after = None;
            loop {
                let page = catalog.candidates_in(job, state, after, PAGE).await?;
                for candidate in page.iter().filter(|candidate| self.wants(candidate)) {
                    match self.json {
                        true => output::print_json(candidate)?,
                        false => output::print(line(candidate))?,
                    }
                }
                after = page.last().map(|candidate| candidate.id);
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(())
    }

    fn wants(&self, candidate: &Candidate) -> bool {
        let code = candidate.reason.as_ref().map(|reason| reason.code());
        self.reason
            .as_deref()
            .is_none_or(|wanted| code == Some(wanted))
    }
}

/// `location: code: what was measured`.
fn line(candidate: &Candidate) -> String {
    let location = candidate.location.shown();
    match (&candidate.reason, &candidate.error) {
        (Some(reason), _) => format!("{location}: {}: {}", reason.code(), measured(reason)),
        (None, Some(error)) => format!("{location}: failed: {error}"),
        (None, None) => format!("{location}: {:?}", candidate.state),
    }
}

/// A reason's text without its name, with which some begin.
fn measured(reason: &Reason) -> String {
    let text = reason.to_string();
    let without_name = text.strip_prefix(&format!("{}: ", reason.code()));
    without_name.map(str::to_owned).unwrap_or(text)
}
