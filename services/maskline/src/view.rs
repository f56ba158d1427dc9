//! A job as a person asks about it: its books, its dataset, its runs.

use anyhow::{Context, Result, bail};
use maskline_messages::{DatasetId, JobId, NetworkName, RunId};
use maskline_storage::{
    Catalog,
    records::{Counts, Job, JobState, Run, RunState},
};
use serde::Serialize;

/// What `maskline status --json` prints of a job, one object a line.
#[derive(Debug, Clone, Serialize)]
pub struct JobView {
    pub id: JobId,
    pub source: String,
    pub state: Progress,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(flatten)]
    pub books: Counts,
    pub dataset: Option<DatasetId>,
    pub runs: Vec<RunView>,
    pub trace_id: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub created: u64,
}

impl JobView {
    /// An error where the job or one of its runs has failed.
    pub fn succeeded(&self) -> Result<()> {
        if self.state == Progress::Failed {
            let error = self.error.as_deref().unwrap_or("no reason is recorded");
            bail!("job {} failed: {error}", self.id);
        }
        let failed = |run: &&RunView| run.state == RunState::Failed || run.error.is_some();
        if let Some(run) = self.runs.iter().find(failed) {
            let error = run.error.as_deref().unwrap_or("no reason is recorded");
            bail!("run {} of {} failed: {error}", run.id, run.network);
        }
        Ok(())
    }
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// More candidates may be found.
    Expanding,
    /// Candidates are in flight.
    Running,
    /// The dataset exists, and nothing was to be trained on it.
    Frozen,
    /// The dataset exists and networks train on it.
    Training,
    /// The dataset exists and every run on it has ended.
    Done,
    Failed,
}

impl Progress {
    /// Whether nothing more will happen to the job by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Frozen | Self::Done | Self::Failed)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Expanding => "expanding",
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Training => "training",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    pub id: RunId,
    pub network: NetworkName,
    pub state: RunState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub epoch: u32,
    pub epochs: u32,
    /// Of the best epoch so far, on the validation split.
    pub accuracy: Option<f32>,
    pub loss: Option<f32>,
    pub device: Option<String>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        Self {
            id: run.id,
            network: run.network,
            state: run.state,
            error: run.error,
            epoch: run.epoch,
            epochs: run.settings.epochs,
            accuracy: run.accuracy,
            loss: run.loss,
            device: run.device,
        }
    }
}

/// Looks a job up.
pub async fn job(catalog: &dyn Catalog, id: JobId) -> Result<JobView> {
    let job = catalog
        .job(id)
        .await?
        .with_context(|| format!("there is no job {id}: `maskline status` lists them"))?;
    of_job(catalog, job).await
}

/// The newest jobs, at most `most`, the newest first.
pub async fn jobs(catalog: &dyn Catalog, most: usize) -> Result<Vec<JobView>> {
    let mut views = vec![];
    for job in catalog.jobs(most).await? {
        views.push(of_job(catalog, job).await?);
    }
    Ok(views)
}

async fn of_job(catalog: &dyn Catalog, job: Job) -> Result<JobView> {
    let books = catalog.counts(job.id).await?;
    let runs = runs_of(catalog, &job).await?;
    Ok(JobView {
        id: job.id,
        source: job.source.to_string(),
        state: progress(&job, &runs),
        error: job.error,
        books,
        dataset: job.dataset,
        runs: runs.into_iter().map(RunView::from).collect(),
        trace_id: job
            .traceparent
            .as_deref()
            .and_then(trace_id)
            .map(str::to_owned),
        created: job.created,
    })
}

/// The runs that the job asked for, as far as they exist by now.
async fn runs_of(catalog: &dyn Catalog, job: &Job) -> Result<Vec<Run>> {
    let Some(dataset) = job.dataset else {
        return Ok(vec![]);
    };
    let mut runs = vec![];
    for &network in &job.train {
        let id = RunId::of(&dataset, network, &job.settings.canonical());
        runs.extend(catalog.run(id).await?);
    }
    Ok(runs)
}

fn progress(job: &Job, runs: &[Run]) -> Progress {
    match job.state {
        JobState::Expanding => Progress::Expanding,
        JobState::Running => Progress::Running,
        JobState::Failed => Progress::Failed,
        JobState::Frozen if job.train.is_empty() => Progress::Frozen,
        JobState::Frozen => {
            let ended = runs
                .iter()
                .filter(|run| run.state != RunState::Open)
                .count();
            if ended == job.train.len() {
                Progress::Done
            } else {
                Progress::Training
            }
        }
    }
}

/// The trace id in a W3C traceparent.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1).filter(|id| id.len() == 32)
}

/// The one of `ids`, each of a `what`, that begins with `prefix`; `list` is the
/// command that lists them.
pub fn by_prefix<T: ToString>(
    prefix: &str,
    what: &str,
    list: &str,
    ids: impl IntoIterator<Item = T>,
) -> Result<T> {
    let mut found: Vec<T> = ids
        .into_iter()
        .filter(|id| id.to_string().starts_with(prefix))
        .collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("there is no {what} {prefix}: `{list}` lists them"),
        many => bail!("{many} {what}s begin with {prefix}: give more of the id"),
    }
}
