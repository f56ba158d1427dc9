//! Waiting for a study that a person asked for.

use std::time::Duration;

use anyhow::Result;
use maskline_messages::{ObjectKey, StudyId};
use maskline_storage::{
    Catalog, Stores,
    records::{Study, StudyState},
};
use tokio::time::Instant;

use crate::{
    job_progress::{HINT_AFTER, JobProgress},
    run_wait,
    study_view::{self, EndedStudy},
};

/// How often the catalog is read.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Shows the progress of a study until it has ended and its best trial is published or could not be.
pub(crate) async fn wait_for_end(stores: &Stores, id: StudyId) -> Result<EndedStudy> {
    let catalog = stores.catalog.as_ref();
    let study = wait_for_trials(catalog, id).await?;
    let results = catalog.results(id).await?;
    let best: Vec<_> = study.best_run().into_iter().collect();
    let run = run_wait::wait_for_end(catalog, &best).await?.pop();
    Ok(EndedStudy {
        trials: study.trials_with(&results),
        study,
        run,
        report: stores.objects.locate(&ObjectKey::study_report_page(id)),
    })
}

/// Waits until nothing of the study is left to train. It is there once a trainer was told of it.
async fn wait_for_trials(catalog: &dyn Catalog, id: StudyId) -> Result<Study> {
    let mut progress = JobProgress::start();
    let began = Instant::now();
    let mut hinted = false;
    loop {
        if let Some(study) = catalog.study(id).await? {
            let results = catalog.results(id).await?;
            let trials = study.trials_with(&results);
            progress.show_words(study_view::progress(&study, &trials), results.len());
            if study.state != StudyState::Open {
                progress.finish();
                return Ok(study);
            }
        } else if !hinted && began.elapsed() >= HINT_AFTER {
            progress.note(
                "no trainer has taken the study yet: does `maskline run` run with the same --data or \
                 --broker?",
            );
            hinted = true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
