//! Waiting for training runs that a person asked for.

use std::time::Duration;

use anyhow::Result;
use maskline_messages::{DatasetId, Method, RunId, TrainingChoices};
use maskline_storage::Catalog;
use tokio::time::Instant;

use crate::{
    job_progress::{HINT_AFTER, JobProgress},
    run_view::RunView,
};

/// How often the catalog is read.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The runs of these networks on a dataset.
pub(crate) fn ids(
    dataset: &DatasetId,
    networks: &[Method],
    choices: &TrainingChoices,
) -> Vec<RunId> {
    let id = |&network: &Method| RunId::of(dataset, network, &choices.settings(network));
    networks.iter().map(id).collect()
}

/// Opens those of the runs again that have failed.
pub(crate) async fn reopen_failed(catalog: &dyn Catalog, ids: &[RunId]) -> Result<()> {
    for &id in ids {
        match catalog.reopen_run(id).await {
            // Nobody has asked for this run before.
            Err(missing) if missing.is_not_found() => {}
            reopened => reopened?,
        }
    }
    Ok(())
}

/// Shows the progress of the runs until all of them have ended, and returns them as they are
/// then. A run is there once a trainer was told of it.
pub(crate) async fn wait_for_end(catalog: &dyn Catalog, ids: &[RunId]) -> Result<Vec<RunView>> {
    let mut progress = JobProgress::start();
    let began = Instant::now();
    let mut hinted = false;
    loop {
        let mut runs = vec![];
        for &id in ids {
            runs.extend(catalog.run(id).await?.map(RunView::from));
        }
        progress.show_runs(&runs);
        if runs.len() == ids.len() && runs.iter().all(RunView::has_ended) {
            progress.finish();
            return Ok(runs);
        }
        if !hinted && runs.is_empty() && began.elapsed() >= HINT_AFTER {
            progress.note(
                "no trainer has taken the runs yet: does `maskline run` run with the same --data or \
                 --broker?",
            );
            hinted = true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
