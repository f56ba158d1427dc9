//! A job as a person asks about it: its counts, its dataset and its training runs.

use anyhow::{Context, Result, bail};
use maskline_foundation::time::unix_millis;
use maskline_messages::{CollectionName, DatasetId, JobId, RunId, VersionName};
use maskline_storage::{
    Catalog,
    records::{Counts, Job, JobState, Pause, Run, RunState},
};
use serde::Serialize;
use strum::IntoStaticStr;

use crate::{
    dataset_remarks, lookup,
    run_view::{self, RunView},
};

/// A job with its counts and its runs. `maskline status --json` prints one as a line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct JobView {
    pub(crate) id: JobId,
    pub(crate) collection: CollectionName,
    pub(crate) source: String,
    pub(crate) state: JobPhase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// What the job waits for before it finds more candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<Pause>,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// The version of the collection that the job was frozen in.
    pub(crate) version: Option<VersionName>,
    pub(crate) dataset: Option<DatasetId>,
    /// What a person should know of that version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remarks: Vec<String>,
    pub(crate) runs: Vec<RunView>,
    pub(crate) trace_id: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(crate) created: u64,
}

impl JobView {
    /// Returns an error if the job or one of its runs has failed.
    pub(crate) fn succeeded(&self) -> Result<()> {
        if self.state == JobPhase::Removed {
            bail!("job {} was removed from {}", self.id, self.collection);
        }
        if self.state == JobPhase::Failed {
            let error = self.error.as_deref().unwrap_or("no reason is recorded");
            bail!("job {} failed: {error}", self.id);
        }
        run_view::succeeded(&self.runs)
    }
}

/// How far a job has come. Unlike the job's state in the catalog, it includes the training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum JobPhase {
    /// More candidates may be found.
    Expanding,
    /// All candidates are found, and some are in flight.
    Running,
    /// Nothing is in flight, and the collection is frozen when a person asks for it.
    Complete,
    /// The dataset exists, and no network was to be trained on it.
    Frozen,
    /// The dataset exists, and networks train on it.
    Training,
    /// The dataset exists, and every run on it has ended.
    Done,
    Failed,
    /// A person removed its source from the collection.
    Removed,
}

impl JobPhase {
    fn of(job: &Job, counts: &Counts, runs: &[Run]) -> Self {
        match job.state {
            _ if job.is_removed() => Self::Removed,
            JobState::Expanding => Self::Expanding,
            JobState::Running if !job.freeze && counts.in_flight == 0 => Self::Complete,
            JobState::Running => Self::Running,
            JobState::Failed => Self::Failed,
            JobState::Frozen if job.train.is_empty() => Self::Frozen,
            JobState::Frozen => {
                let ended = runs.iter().filter(|run| run.state != RunState::Open);
                match ended.count() == job.train.len() {
                    true => Self::Done,
                    false => Self::Training,
                }
            }
        }
    }

    /// Nothing more will happen to the job by itself.
    pub(crate) fn is_final(self) -> bool {
        matches!(
            self,
            Self::Complete | Self::Frozen | Self::Done | Self::Failed | Self::Removed
        )
    }

    /// The name that JSON has for it, too.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

/// Reads a job. It is an error if there is no such job.
pub(crate) async fn job(catalog: &dyn Catalog, id: JobId) -> Result<JobView> {
    let job = catalog
        .job(id)
        .await?
        .with_context(|| format!("there is no job {id}: `maskline status` lists them"))?;
    view(catalog, job).await
}

/// Reads the newest jobs, at most `limit`, the newest first.
pub(crate) async fn jobs(catalog: &dyn Catalog, limit: usize) -> Result<Vec<JobView>> {
    let mut views = vec![];
    for job in catalog.jobs(limit).await? {
        views.push(view(catalog, job).await?);
    }
    Ok(views)
}

async fn view(catalog: &dyn Catalog, job: Job) -> Result<JobView> {
    let counts = catalog.counts(job.id).await?;
    let runs = runs(catalog, &job).await?;
    let is_on = |pause: &Pause| job.state == JobState::Expanding && pause.until > unix_millis();
    let pause = job.pause.clone().filter(is_on);
    let version = job.version.map(|number| VersionName {
        collection: job.collection.clone(),
        number,
    });
    let dataset = match &job.dataset {
        Some(dataset) => catalog.dataset(dataset).await?,
        None => None,
    };
    let remarks = match (&version, &dataset) {
        (Some(version), Some(dataset)) => dataset_remarks::remarks(version, dataset),
        _ => vec![],
    };
    Ok(JobView {
        id: job.id,
        source: job.source.to_string(),
        state: JobPhase::of(&job, &counts, &runs),
        version,
        remarks,
        collection: job.collection,
        error: job.error,
        pause,
        counts,
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

/// Reads the runs that the job asked for. A run exists once a trainer was asked for it. Its id
/// depends on the usual settings of the build that the trainer was then; if this build has others, the
/// run is one that names the job.
async fn runs(catalog: &dyn Catalog, job: &Job) -> Result<Vec<Run>> {
    let Some(dataset) = job.dataset else {
        return Ok(vec![]);
    };
    let mut runs = vec![];
    for &network in &job.train {
        let id = RunId::of(&dataset, network, &job.settings.settings(network));
        match catalog.run(id).await? {
            Some(run) => runs.push(run),
            None => {
                let all = catalog.runs(Some(&dataset), lookup::ALL).await?;
                let mut all = all.into_iter();
                runs.extend(all.find(|run| run.network == network && run.job == Some(job.id)));
            }
        }
    }
    Ok(runs)
}

/// The trace id in a W3C traceparent.
fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1).filter(|id| id.len() == 32)
}
